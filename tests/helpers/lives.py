"""Processes that are killed again and again: each is forked from one that has imported everything.

Imports take a second, and a life to be killed a tenth of that.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

# Nothing that starts a thread of its own, as OpenVINO does.
_PRELOADED = ("retrieval.gallery", "faiss", "alembic.command", "timm", "torch")


def born(target: Callable[..., None], *arguments: Any, out: Path, trouble: Path) -> BaseProcess:
    """Start a process that runs a function of a module in this folder, and nothing else.

    Args:
        target: The function.
        arguments: What it is called with.
        out: Where its standard output goes, emptied first.
        trouble: Where its standard error goes, emptied first.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))  # counts where the first one is born
    for path in (out, trouble):
        path.write_bytes(b"")
    process = context.Process(target=_live, args=(target, arguments, str(out), str(trouble)))
    process.start()
    return process


def _live(target: Callable[..., None], arguments: tuple[Any, ...], out: str, trouble: str) -> None:
    for stream, path in ((sys.stdout, out), (sys.stderr, trouble)):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(handle, stream.fileno())
        os.close(handle)
    target(*arguments)


def lookalike(*arguments: str) -> None:
    """Run the command with these arguments; a target for `born`."""
    from retrieval.cli import main

    main(arguments)


def interruptible_lookalike(*arguments: str) -> None:
    """Run the command so that Ctrl-C reaches it, though the tests run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    lookalike(*arguments)
