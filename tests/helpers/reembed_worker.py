"""Gives a gallery another encoder, telling how far it is, and dies at a step if one is named.

A step is a function of `retrieval` or `db`, by its name there; some are called several times, and
the first call counts.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from typing import Any

from retrieval import Gallery, new_vectors


def die_at(step: str, moment: str) -> None:
    names = step.split(".")
    holder: Any = importlib.import_module("db" if names[0] == "db" else f"retrieval.{names[0]}")
    for name in names[1:-1]:
        holder = getattr(holder, name)
    real = getattr(holder, names[-1])

    @functools.wraps(real)
    def deadly(*args: Any, **kwargs: Any) -> Any:
        if moment == "after":
            real(*args, **kwargs)
        os._exit(9)

    setattr(holder, names[-1], deadly)
    # Where it was imported by name, too.
    for module in list(sys.modules.values()):
        if module.__name__.startswith("retrieval") and getattr(module, names[-1], None) is real:
            setattr(module, names[-1], deadly)


def say(done: int, _total: int) -> None:
    sys.stdout.write(f"{done}\n")
    sys.stdout.flush()


def main(gallery_path: str, encoder: str, *step: str) -> None:
    # Small, so that some is committed before most moments.
    new_vectors._COMMIT_PHOTOS = 4
    if step:
        die_at(*step)
    with Gallery.open(gallery_path) as gallery:
        gallery.reembed(encoder, progress=say)
