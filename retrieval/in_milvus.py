"""Searching a shared gallery on a Milvus server that follows the store's change log.

Each gallery and encoder has a collection of its own. How far it has come is a watermark in the
store, written after the server has acknowledged; the collection's identity and the time of the last
acknowledged change are part of it, so that a collection made anew is filled anew, and whoever reads
the watermark finds at least what it speaks of. One process at a time replays the log.

A vector that went stays in the collection for a while: a query whose snapshot still has it must
find it. The store leaves out what is gone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db import Glance, Reader, Store, StoredEncoder, Watermark
from indexes import Changes, CollectionGone, Hits, MilvusIndex
from retrieval.proposing import StaleError

MILVUS = "milvus"
"""The kind of index that `info` tells, and how the URL a user asks for begins."""
TOKEN = "LOOKALIKE_MILVUS_TOKEN"  # noqa: S105 - the variable that holds one
"""The environment variable with the server's token, or USER:PASSWORD."""
# No query takes longer: its snapshot may know vectors that went so long ago.
_GRACE_SECONDS = 60.0
_IDS = 10_000
# How far the server looks the second time: candidates, or cells.
_PROBES_AGAIN = 512
# Bytes of vectors after which it is worth waiting until the server has built their graph: of fewer
# it looks at all.
_MANY = 5_000_000


class MilvusProposer:
    """A collection as an index."""

    generation = -1

    def __init__(self, store: Store, asked: str, uid: str, encoder: StoredEncoder) -> None:
        """Know the collection of an encoder; nothing is connected yet."""
        self.asked = asked
        self._store = store
        self._index = index_of(asked, uid, encoder)
        self._name = watermark_name(uid, encoder)
        self._encoder = encoder
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def may_miss(self, glance: Glance) -> bool:  # noqa: ARG002 - whatever the snapshot has
        """Always: a server looks at a part."""
        return True

    def follow(self, tx: Reader, seq: int) -> None:  # noqa: ARG002 - the watermark says it
        """Make sure that the server has at least what the snapshot has."""
        mark = tx.watermark(self._name)
        if mark is None or mark.seq < tx.seq or not self._fits(mark):
            self.replay()
            with self._store.read() as now:
                mark = now.watermark(self._name)
        if mark is None:  # another process has just begun to fill it anew
            raise StaleError
        self._index.require(mark.details["acknowledged"])
        self._encoder, self._count = tx.encoder, tx.count_items()

    def replay(self) -> bool:
        """Bring the collection up to date with the store, in turn with other processes.

        Returns:
            Whether it was filled anew.
        """
        with self._store.exclusive(self._name), self._store.read() as tx:
            mark = tx.watermark(self._name)
            anew = mark is None or not self._fits(mark) or _removed(mark, tx) < tx.purged_seq
            if mark is None or anew:
                self._fill(tx)
            else:
                self._catch_up(tx, mark)
            return anew

    def lacks(self, tx: Reader) -> int | None:
        """Return how many of the store's vectors the collection has not, though it should.

        `None` where there is no collection, or not the one that the watermark speaks of.
        """
        mark = tx.watermark(self._name)
        if mark is None or not self._fits(mark):
            return None
        if mark.seq < tx.seq:
            return 0  # it is behind, which the next query mends
        self._index.require(mark.details["acknowledged"])
        return sum(len(self._index.missing(part.ids)) for part in tx.vectors())

    def search(
        self,
        glance: Glance,
        queries: NDArray[np.float32],
        k: int,
        *,
        allow: NDArray[np.int64] | None,
        probes: int | None,
        again: bool = False,
    ) -> Hits:
        """Ask the server, and leave out what the snapshot has not, or has no more."""
        asked_for, probes = k, _PROBES_AGAIN if again else probes
        while True:
            hits = self._index.search(queries, asked_for, allow=allow, probes=probes)
            live = glance.live(np.unique(hits.ids[hits.ids >= 0]).tolist(), self._encoder)
            known = np.isin(hits.ids, np.fromiter(live, dtype=np.int64))
            if np.all((known.sum(axis=1) >= k) | (hits.ids[:, -1] < 0)):
                return _first(hits, known, k)
            asked_for *= 2

    def close(self) -> None:
        """Let the connection go."""
        self._index.close()

    def _fits(self, mark: Watermark) -> bool:
        try:
            return bool(mark.details["identity"] == self._index.identity())
        except CollectionGone:
            return False

    def _fill(self, tx: Reader) -> None:
        self._store.drop_watermark(self._name)
        self._index.drop()
        self._index.create(tx.count_items())
        self._add(tx, after_seq=-1)
        self._note(tx, removed=tx.seq, waiting=None)

    def _catch_up(self, tx: Reader, mark: Watermark) -> None:
        # Where nothing has to be applied, what was acknowledged before still says it all.
        self._index.require(mark.details["acknowledged"])
        removed, waiting = int(mark.details["removed"]), mark.details["waiting"]
        if waiting is not None and time.time() - waiting["since"] > _GRACE_SECONDS:
            self._remove(tx.removed_since(removed, until=waiting["seq"]))
            removed, waiting = int(waiting["seq"]), None
        if waiting is None and removed < tx.seq:
            waiting = {"seq": tx.seq, "since": time.time()}
        self._add(tx, after_seq=mark.seq)
        self._note(tx, removed=removed, waiting=waiting)

    def _add(self, tx: Reader, *, after_seq: int) -> None:
        count = 0
        for part in tx.vectors(after_seq=after_seq):
            self._index.apply(Changes(part.ids, part.data))
            count += len(part.ids)
        if 4 * count * self._index.dim >= _MANY:
            self._index.settle()

    def _remove(self, ids: Sequence[int]) -> None:
        for start in range(0, len(ids), _IDS):
            gone = np.array(ids[start : start + _IDS], dtype=np.int64)
            self._index.apply(Changes(removed_ids=gone))

    def _note(self, tx: Reader, *, removed: int, waiting: dict[str, Any] | None) -> None:
        details = {
            "identity": self._index.identity(),
            "acknowledged": self._index.acknowledged,
            "removed": removed,
            "waiting": waiting,
            "changes": tx.change_count,
            "items": tx.count_items(),
        }
        self._store.set_watermark(self._name, tx.seq, details)


def _first(hits: Hits, known: NDArray[np.bool_], k: int) -> Hits:
    """Return the first k of the hits that are known, in their order."""
    order = np.argsort(~known, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(known, order, axis=1)
    ids = np.where(kept, np.take_along_axis(hits.ids, order, axis=1), -1)
    distances = np.take_along_axis(hits.distances, order, axis=1)
    return Hits(ids, np.where(kept, distances, np.float32(np.inf)), hits.error)


def index_of(asked: str, uid: str, encoder: StoredEncoder) -> MilvusIndex:
    """Return the index for a gallery's vectors of one encoder, on the server a user asked for.

    Args:
        asked: `milvus://HOST:PORT[/DATABASE]`, or `milvus+tls://…`.
        uid: The gallery's.
        encoder: Whose vectors.
    """
    scheme, _, rest = asked.partition("://")
    uri = f"{'https' if scheme.endswith('+tls') else 'http'}://{rest}"
    collection = f"lookalike_{uid}_{encoder.id}"
    return MilvusIndex(uri, collection, encoder.dim, token=os.environ.get(TOKEN))


def watermark_name(uid: str, encoder: StoredEncoder) -> str:
    """Return what the store calls the watermark of a gallery's collection."""
    return f"{MILVUS}:{uid}:{encoder.id}"


def drop_others(store: Store, asked: str) -> None:
    """Delete the collections of a gallery's encoders of before.

    Raises:
        EngineError: The server can't be asked.
    """
    with store.read() as tx:
        uid = tx.uid
        names = {one: watermark_name(uid, one) for one in tx.other_encoders()}
        left = {one: name for one, name in names.items() if tx.watermark(name) is not None}
    for encoder, name in left.items():
        index = index_of(asked, uid, encoder)
        with closing(index), store.exclusive(name):
            index.drop()
            store.drop_watermark(name)


def purgeable(tx: Reader) -> int:
    """Return up to which sequence number the log of what went is not needed any more."""
    mark = tx.watermark(watermark_name(tx.uid, tx.encoder))
    return tx.seq if mark is None else _removed(mark, tx)


def _removed(mark: Watermark, tx: Reader) -> int:
    return min(int(mark.details["removed"]), tx.seq)
