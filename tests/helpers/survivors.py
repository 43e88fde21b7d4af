"""What is left of a gallery that something befell: what is stored, what it answers and says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from db import Store
from retrieval import Gallery
from retrieval.ranking import exact_distances

MAIN = "from retrieval.cli import main; main()"
# An index file even for a gallery of a few photos.
INDEXED = "from retrieval import generations; generations._STALE_COUNT = 1; "
Gone = subprocess.CompletedProcess[str]


def recorded_files(gallery: Gallery) -> list[str]:
    with gallery._store.read() as tx:
        return [generation.file_name for generation in tx.generations()]


def stored(gallery: Path) -> dict[str, str]:
    """Return the content of each item by its path."""
    store = Store.open(gallery / "gallery.db")
    with store.read() as tx:
        found = {item.path: item.content_hash for item in tx.items()}
    store.close()
    return found


def assert_right(gallery: Gallery) -> None:
    """Compare answers with brute force over what the store holds."""
    rng = np.random.default_rng(7)
    with gallery._store.read() as tx:
        parts = list(tx.vectors())
    ids = np.concatenate([part.item_ids for part in parts])
    data = np.concatenate([part.data for part in parts])
    queries = data[::5].astype(np.float32) + rng.normal(0, 0.02, data[::5].shape)
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    for query, found in zip(queries, gallery.nearest(queries, 4), strict=True):
        distances = exact_distances(query, data)
        order = np.lexsort((ids, distances))[:4]
        assert [one.id for one in found] == ids[order].tolist()
        assert [one.distance for one in found] == distances[order].tolist()


def lookalike(*arguments: object, prelude: str = "", before: list[str] | None = None) -> Gone:
    """Run the command in a process of its own; it succeeds, finds problems, or says a sentence."""
    done = subprocess.run(
        [*(before or []), sys.executable, "-c", prelude + MAIN, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 1:
        assert done.stdout.endswith((" problem\n", " problems\n")), done.stderr
    elif done.returncode != 0:
        assert done.returncode == 2, done.stderr
        assert re.search(r"^Error: .+\.\n\Z", done.stderr, re.MULTILINE), done.stderr
        assert "Traceback" not in done.stderr
    return done
