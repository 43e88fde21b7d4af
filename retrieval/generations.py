"""Generations: index files built from the store, opened, replaced and collected.

A generation holds the vectors that were live at one moment. What came and went since is a small
delta; once that has grown, a new generation is due.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from db import Generation, Reader, Store, StoredVectors
from indexes import KINDS, Changes, ExactIndex, IndexFileError, IvfIndex, VectorIndex, load, save
from indexes import suffix as suffix_of

_log = logging.getLogger(__name__)

INDEX_KINDS = {"exact": ExactIndex.kind, "ivf": IvfIndex.kind}
"""What a user may ask for beside `auto`, and the kind of index file it means."""

# A new generation is due when this share of the vectors has come or gone since the last one,
# and at least so many that reading them one by one takes a noticeable time.
STALE_SHARE, _STALE_COUNT = 0.1, 1000
# Bytes of 8-bit codes from which on an exact search takes longer than an approximate one is worth:
# docs/search.md.
_APPROXIMATE_FROM = 32_000_000
_ORPHAN_SECONDS = 3600


def open_newest(tx: Reader, folder: Path) -> tuple[VectorIndex, int]:
    """Open the newest generation that proves to be whole, or an index that holds nothing yet.

    Args:
        tx: The snapshot it is to agree with.
        folder: Where the files are.

    Returns:
        The index, and the sequence number after which changes are missing in it.
    """
    for generation in usable(tx):
        path = folder / generation.file_name
        try:
            index = load(path, kind=generation.kind, sha256=generation.sha256)
        except IndexFileError as error:
            _log.warning("%s; searching the store without it.", error)
            continue
        if len(index) == generation.count and index.dim == tx.encoder.dim:
            return index, generation.seq
        _log.warning("%s does not agree with the store; searching without it.", path)
    return ExactIndex(tx.encoder.dim), -1


def usable(tx: Reader) -> list[Generation]:
    """Return the generations that the snapshot can be reached from, newest first."""
    return [
        generation
        for generation in tx.generations()
        if generation.encoder_fingerprint == tx.encoder.fingerprint
        and generation.kind in KINDS
        and tx.purged_seq <= generation.seq <= tx.seq
    ]


def changes_since(tx: Reader, seq: int) -> Changes:
    """Return what came and went after a sequence number, at least `tx.purged_seq`."""
    parts: list[StoredVectors] = list(tx.vectors(after_seq=seq))
    gone = np.array(tx.removed_since(seq), dtype=np.int64)
    if not parts:
        return Changes(removed_ids=gone)
    return Changes(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.data for part in parts]),
        gone,
    )


def write_generation(
    store: Store, folder: Path, fingerprint: str, *, stale_share: float = STALE_SHARE
) -> bool:
    """Write a new generation if enough has changed since the last.

    Readers and writers go on meanwhile: it is built from a snapshot.

    Args:
        store: What to build it from.
        folder: Where the files are; made if need be.
        fingerprint: The encoder it is for; nothing is written for a gallery that has another one.
        stale_share: How much is enough, as a share of the vectors; 0: anything, or its kind.

    Returns:
        Whether it was written.

    Raises:
        OSError: It can't be written.
    """
    with store.read() as tx:
        if tx.encoder.fingerprint != fingerprint:
            return False
        newest = next((one for one in usable(tx) if (folder / one.file_name).exists()), None)
        kind = _kind(tx)
        changes = tx.change_count
        if stale_share:
            lacking = changes - (newest.changes if newest else 0)
            due = max(_STALE_COUNT, stale_share * (newest.count if newest else 0))
            fresh = lacking < due
        else:
            fresh = newest is not None and (newest.changes, newest.kind) == (changes, kind)
        if fresh:
            return False
        folder.mkdir(exist_ok=True)
        count, seq = tx.count_vectors(), tx.seq
        # Named by what it holds: two writers at once would write the same bytes.
        path = folder / f"gen-{seq:06d}-{tx.encoder.id}.{suffix_of(kind)}"
        checksum = save(
            path,
            kind=kind,
            dim=tx.encoder.dim,
            count=count,
            chunks=lambda: (Changes(part.ids, part.data) for part in tx.vectors()),
        )
    with store.write() as writer:
        if writer.encoder.fingerprint != fingerprint:
            return False  # the file is nobody's, and is collected some day
        if path.name not in {generation.file_name for generation in writer.generations()}:
            writer.add_generation(
                kind=kind,
                file_name=path.name,
                sha256=checksum,
                seq=seq,
                count=count,
                changes=changes,
            )
        # The last one stays too: others may just be opening it.
        kept = {path.name, newest.file_name if newest else path.name}
        for generation in writer.generations():
            if generation.file_name not in kept:
                writer.drop_generation(generation.id)
    _collect(store, folder)
    return True


def _kind(tx: Reader) -> str:
    """Return the kind of file to write: what the user asked for, or what suits the size."""
    name = asked(tx)
    count = tx.count_items()
    if name == "auto":
        name = "ivf" if count * tx.encoder.dim >= _APPROXIMATE_FROM else "exact"
    return INDEX_KINDS[name] if count else ExactIndex.kind


def asked(tx: Reader) -> str:
    """Return what the user asked for: `auto`, or the name of an index."""
    return str(tx.settings().get("index", "auto"))


def _collect(store: Store, folder: Path) -> None:
    """Delete files that no generation names: dropped ones, and what a crash left behind."""
    with store.read() as tx:
        known = {generation.file_name for generation in tx.generations()}
    for path in folder.glob("gen-*"):
        # A young one may be another writer's, about to be recorded.
        if path.name in known:
            continue
        with suppress(FileNotFoundError):  # another process collects too
            if path.stat().st_mtime < time.time() - _ORPHAN_SECONDS:
                path.unlink()
