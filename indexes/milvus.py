"""An index on a Milvus server: one collection of ids and vectors, shared by any number of clients.

The server searches an HNSW graph, or the cells of an inverted file in a large collection, of
float32 vectors: distances are off by rounding alone. What was written is found by everybody who was
told its timestamp (`MilvusIndex.acknowledged`, `MilvusIndex.require`).
"""

from __future__ import annotations

import time
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from indexes.milvus_calls import CALL_SECONDS, Calls
from indexes.milvus_collection import DEEPEST, MOST, Collection, among, distances
from indexes.protocol import SUMMING, Changes, CollectionGone, Hits, require_question

LARGE = 1_000_000
"""Vectors from which on a collection has cells: they are built sooner than a graph."""

# How deep a search goes to find 99 % of the ten nearest. Where that is not enough it goes deeper,
# as where only some vectors are allowed: of a share, the nearest lie so much farther out.
_DEPTH, _DEEPER, _FILTERED = 64, 4, 2
# Allowed vectors up to which they are fetched and compared with here.
_FEW = 1000
# Ids in an expression.
_IDS = 10_000
# Bytes of vectors after which they are sealed: of some 12 MB that are not, the server makes rough
# cells of its own, where it finds nine of ten.
_SEALED = 5_000_000
# How often at most, as servers refuse more, and small segments are slow to search.
_SEAL_SECONDS = 10.0
_PAUSE_SECONDS = 0.2


class MilvusIndex:
    """A follower of a store's changes on a Milvus server. Threads may share it.

    One client at a time may apply changes, in the order the store made them: an addition that
    arrives after its removal, by another client, would stay. Any number may search meanwhile.
    """

    kind = "milvus"

    def __init__(self, uri: str, collection: str, dim: int, *, token: str | None = None) -> None:
        """Name a collection; the server is connected to at first use.

        Args:
            uri: `http://host:port` or `https://host:port`; see `Calls`.
            collection: Its name: letters, digits and `_`.
            dim: Length of the vectors.
            token: What the server knows us by.

        Raises:
            EngineError: The URI is none of a Milvus server.
        """
        self._calls = Calls(uri, token)
        self._collection = Collection(self._calls, collection, dim)
        self._gone: set[int] = set()
        self._lock = Lock()
        self._timestamp = 0
        self._unsealed = False
        self._sealed_at = -_SEAL_SECONDS
        self._closed = False

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self._collection.dim

    @property
    def acknowledged(self) -> int:
        """The server's timestamp up to which searches here see all changes; 0: not known yet."""
        return self._timestamp

    def require(self, timestamp: int) -> None:
        """Make later searches see all that was acknowledged up to a timestamp.

        Until told, and before a change of its own, an index waits for all that came before the
        search: up to two tenths of a second.
        """
        with self._lock:
            self._timestamp = max(self._timestamp, timestamp)

    def __len__(self) -> int:
        return 0 if self._closed else self._collection.count(timestamp=0)

    def exists(self) -> bool:
        """Whether the collection is on the server.

        Raises:
            EngineError: The server can't be asked.
        """
        try:
            self.identity()
        except CollectionGone:
            return False
        return True

    def identity(self) -> str:
        """Return what names this very collection; made anew under the same name it has another.

        Raises:
            CollectionGone: There is none.
            EngineError: The server can't be asked.
        """
        return self._collection.identity()

    def create(self, count: int = 0) -> None:
        """Make the collection; one that is there already stays as it is.

        Args:
            count: How many vectors are expected: from `LARGE` on it gets cells, not a graph.

        Raises:
            EngineError: The server can't be asked, or refuses.
        """
        self._collection.create(cells=count >= LARGE)

    def drop(self) -> None:
        """Delete the collection with all it holds; nothing happens where there is none.

        Raises:
            EngineError: The server can't be asked.
        """
        self._collection.drop()
        self._gone.clear()

    def apply(self, changes: Changes) -> None:
        """Take changes in; when this returns, the server has acknowledged all of them.

        A removal counts even when it arrives before its addition. After large changes, `settle`
        waits until they are found as surely as the rest.

        Raises:
            CollectionGone: The collection isn't there any more.
            EngineError: The server can't be asked. Apply the same changes again.
        """
        for some in _batches(changes.removed_ids):
            self._collection.delete(some)
        self._gone.update(changes.removed_ids.tolist())
        if changes.added_vectors is not None:
            ids, places = np.unique(changes.added_ids, return_index=True)
            keep = np.array([one not in self._gone for one in ids.tolist()], dtype=bool)
            self._collection.upsert(ids[keep], changes.added_vectors[places[keep]])
            self._seal_after(ids[keep])
        # Servers acknowledge a removal without its timestamp.
        self.require(self._collection.now())

    def settle(self, seconds: float = CALL_SECONDS) -> bool:
        """Wait until the server has built the graph or cells of all that was applied.

        Until then, of what came last in large changes, it finds nine of ten.

        Returns:
            Whether that was done within so many seconds.

        Raises:
            CollectionGone: The collection isn't there any more.
            EngineError: The server can't be asked.
        """
        until = time.monotonic() + seconds
        self._seal()
        while not (settled := self._collection.is_settled()) and time.monotonic() < until:
            time.sleep(_PAUSE_SECONDS)
        return settled

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allow: NDArray[np.int64] | None = None,
        probes: int | None = None,
    ) -> Hits:
        """Find the k nearest vectors of each query, as many as there are, ties by id.

        Among few allowed ones, and where more than the server returns are wanted, all are looked
        at.

        Args:
            queries: float32, shape `(n_queries, dim)`, L2-normalised.
            k: At least 1.
            allow: int64 ids to search among; `None` allows all.
            probes: How many candidates a graph keeps, or how many cells of each of the server's
                segments are looked into; `None` takes what finds 99 % of the ten nearest.

        Raises:
            ValueError: The queries' shape is not `(n, dim)`, or k is below 1.
            CollectionGone: The collection isn't there any more.
            EngineError: The server can't be asked.
        """
        require_question(queries, k, self.dim)
        hits = Hits.empty(len(queries), k, error=SUMMING)
        if not len(queries) or self._closed:
            return hits
        few = allow is not None and len(allow) <= _FEW
        look = self._scan if few or k > MOST else self._look
        depth = probes or _DEPTH
        if allow is None:
            return _nearer(hits, look(queries, k, depth, ""))
        for some in _batches(np.unique(allow)):
            share = len(some) / max(self._collection.estimate(), len(some))
            hits = _nearer(hits, look(queries, k, int(_FILTERED * depth / share), among(some)))
        return hits

    def missing(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of some ids that are not held.

        Raises:
            CollectionGone: The collection isn't there any more.
            EngineError: The server can't be asked.
        """
        some = _batches(np.unique(ids))
        held = [self._collection.held(self._timestamp, among(one)) for one in some]
        return np.setdiff1d(ids, np.concatenate([np.empty(0, dtype=np.int64), *held]))

    def close(self) -> None:
        """Let the connection go; the collection stays."""
        self._closed = True
        self._calls.close()

    def _look(self, queries: NDArray[np.float32], k: int, depth: int, expression: str) -> Hits:
        """Search the server's graph or cells, deeper for queries that find less than there is."""
        hits = self._collection.search(queries, k, depth, self._timestamp, expression)
        short = np.flatnonzero(hits.ids[:, -1] < 0)
        if len(short):
            found = min(k, self._collection.count(self._timestamp, expression))
            short = short[np.count_nonzero(hits.ids[short] >= 0, axis=1) < found]
        if len(short):
            look = self._look if depth < DEEPEST else self._scan
            more = look(queries[short], k, depth * _DEEPER, expression)
            hits.ids[short], hits.distances[short] = more.ids, more.distances
        return hits

    def _scan(
        self,
        queries: NDArray[np.float32],
        k: int,
        depth: int,  # noqa: ARG002 - everything is looked at
        expression: str,
    ) -> Hits:
        """Fetch all vectors that an expression allows, and compare with each."""
        hits = Hits.empty(len(queries), k, error=SUMMING)
        for ids, vectors in self._collection.vectors(self._timestamp, expression):
            here = distances(queries @ vectors.T)
            hits = _nearer(hits, Hits(np.broadcast_to(ids, here.shape), here, SUMMING))
        return hits

    def _seal_after(self, ids: NDArray[np.int64]) -> None:
        """Seal what was added now and then; nobody has to know who added how much.

        Ids ascend as a store gives them out, so each so many of them cross a multiple once.
        """
        rows = max(_SEALED // (4 * self.dim), 1)
        if len(ids) and ids[0] // rows < (ids[-1] + 1) // rows:
            self._unsealed = True
        if self._unsealed and time.monotonic() - self._sealed_at >= _SEAL_SECONDS:
            self._seal()

    def _seal(self) -> None:
        self._collection.seal()
        self._unsealed, self._sealed_at = False, time.monotonic()


def _batches(ids: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [ids[start : start + _IDS] for start in range(0, len(ids), _IDS)]


def _nearer(one: Hits, other: Hits) -> Hits:
    """Return the nearest of both, as many as the first holds, ties by id."""
    ids = np.concatenate([one.ids, other.ids], axis=1)
    apart = np.concatenate([one.distances, other.distances], axis=1)
    order = np.lexsort((ids, apart))[:, : one.ids.shape[1]]
    return Hits(
        np.take_along_axis(ids, order, axis=1),
        np.take_along_axis(apart, order, axis=1),
        one.error,
    )
