"""Copies a gallery in small parts, telling each, until it is done or killed.

Run by test_copying.py: `python copy_worker.py GALLERY TO`.
"""

from __future__ import annotations

import sys

from db import rows
from retrieval import Gallery

rows._CHUNK = 10


def say(done: int, total: int) -> None:
    sys.stdout.write(f"{done} {total}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with Gallery.open(sys.argv[1]) as gallery:
        say(0, 0)
        gallery.copy(sys.argv[2], progress=say)
    say(-1, -1)
