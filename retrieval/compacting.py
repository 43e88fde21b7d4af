"""Compaction: a new generation of the index, and the store without what nobody can see any more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from db import Store
from retrieval.index_choice import purgeable_seq, settle_index

# The share of free pages from which on the file is rewritten without them.
_FREE_SHARE = 0.25


@dataclass(frozen=True)
class CompactReport:
    """What a compaction did.

    Attributes:
        generation: Whether a new index was made; if not, there was nothing new in it.
        purged: Vectors deleted that had gone: of items removed, changed or embedded anew.
        freed: Bytes by which the store's file became smaller.
    """

    generation: bool
    purged: int
    freed: int


def compact(store: Store, folder: Path, fingerprint: str) -> CompactReport:
    """Compact a gallery while others read and write it.

    Args:
        store: The gallery's store.
        folder: Where its index files are.
        fingerprint: Its encoder; nothing is done for a gallery that has another one.

    Raises:
        StoreError: The store can't be written.
        OSError: The index file can't be written.
    """
    written = settle_index(store, folder, fingerprint, stale_share=0)
    purged = 0
    with store.write() as tx:
        up_to = purgeable_seq(tx, is_shared=store.is_shared)
        if tx.encoder.fingerprint == fingerprint and up_to is not None:
            purged = tx.purge_vectors(up_to=up_to)
            # Those before can't be brought up to date any more.
            for generation in tx.generations():
                if generation.seq < up_to:
                    tx.drop_generation(generation.id)
    return CompactReport(written, purged, store.shrink(_FREE_SHARE))
