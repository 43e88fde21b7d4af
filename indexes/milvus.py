"""An index on a Milvus server: one collection of ids and vectors, shared by any number of clients.

The server searches an HNSW graph, or the cells of an inverted file in a large collection, of
float32 vectors: distances are off by rounding alone. What was written is found by everybody who was
told its timestamp (`MilvusIndex.acknowledged`, `MilvusIndex.require`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexes.milvus_calls import CALL_SECONDS, Calls, NotLoaded
from indexes.protocol import (
    SUMMING,
    Changes,
    CollectionGone,
    EngineError,
    Hits,
    require_question,
)

LARGE = 1_000_000
"""Vectors from which on a collection has cells: they are built sooner than a graph."""
# Links of a vector in the graph, and how many candidates its building keeps.
_LINKS, _BUILD_DEPTH = 16, 200
# Cells of each of the server's segments.
_CELLS = 1024
# How many candidates a search in the graph keeps, or cells it looks into: it finds 99 % of the ten
# nearest. Where that is not enough, and where only some vectors are allowed, it goes deeper.
_DEPTH, _DEEPER, _FILTERED, _DEEPEST = 64, 4, 2, 32_768
# Vectors the server returns at most.
_MOST = 16_384
# Allowed vectors up to which they are fetched and compared with here.
_FEW = 1000
# Ids in an expression.
_IDS = 10_000
# Bytes of vectors after which they are sealed, so that the server builds their graph or cells: of
# some 12 MB that are not, it makes cells of its own, where it finds nine of ten.
_SEALED = 5_000_000
# How often at most, as servers refuse more, and small segments are slow to search.
_SEAL_SECONDS = 10.0
# Vectors of a segment from which on it gets a graph or cells; fewer are all looked at.
_INDEXED = 1024
# Bytes of vectors, and hits, in a message; a server takes and sends 64 MB.
_BYTES, _HITS = 16_000_000, 2_000_000

# How long to wait before a collection that is being loaded is looked at again.
_PAUSE_SECONDS = 0.05
_ID, _VECTOR, _INDEX = "id", "vector", "nearest"


class MilvusIndex:
    """A follower of a store's changes on a Milvus server.

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
        self._collection = collection
        self._dim = dim
        self._gone: set[int] = set()
        self._lock = Lock()
        # 0 makes a search wait for everything that came before it, 1 for nothing.
        self._timestamp = 0
        self._unsealed = False
        self._sealed_at = -_SEAL_SECONDS
        self._closed = False

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self._dim

    @property
    def acknowledged(self) -> int:
        """The server's timestamp of the latest change that searches here will see; 0: unknown."""
        return self._timestamp

    def require(self, timestamp: int) -> None:
        """Make later searches see all that was acknowledged up to a timestamp.

        Until told, and before a change of its own, an index waits for everything that the server
        took before the search: up to two tenths of a second.
        """
        with self._lock:
            self._timestamp = max(self._timestamp, timestamp)

    def __len__(self) -> int:
        return 0 if self._closed else self._count("", timestamp=0)

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
        from pymilvus.grpc_gen import milvus_pb2 as messages

        request = messages.DescribeCollectionRequest(collection_name=self._collection)
        answer = self._calls.call("DescribeCollection", request)
        return f"{answer.collectionID}-{answer.created_timestamp}"

    def create(self, count: int = 0) -> None:
        """Make the collection; one that is there already stays as it is.

        Args:
            count: How many vectors are expected: from `LARGE` on it gets cells, not a graph.

        Raises:
            EngineError: The server can't be asked, or refuses.
        """
        from pymilvus.grpc_gen import common_pb2 as common
        from pymilvus.grpc_gen import milvus_pb2 as messages
        from pymilvus.grpc_gen import schema_pb2 as schemas

        length = common.KeyValuePair(key="dim", value=str(self._dim))
        schema = schemas.CollectionSchema(
            name=self._collection,
            fields=[
                schemas.FieldSchema(name=_ID, data_type="Int64", is_primary_key=True),
                schemas.FieldSchema(name=_VECTOR, data_type="FloatVector", type_params=[length]),
            ],
        )
        self._calls.call(
            "CreateCollection",
            messages.CreateCollectionRequest(
                collection_name=self._collection, schema=schema.SerializeToString(), shards_num=1
            ),
        )
        if count < LARGE:
            kind, building = "HNSW", {"M": _LINKS, "efConstruction": _BUILD_DEPTH}
        else:
            kind, building = "IVF_FLAT", {"nlist": _CELLS}
        self._calls.call(
            "CreateIndex",
            messages.CreateIndexRequest(
                collection_name=self._collection,
                field_name=_VECTOR,
                index_name=_INDEX,
                extra_params=_pairs(index_type=kind, metric_type="IP", params=json.dumps(building)),
            ),
        )
        self._load()

    def drop(self) -> None:
        """Delete the collection with all it holds; nothing happens where there is none.

        Raises:
            EngineError: The server can't be asked.
        """
        from pymilvus.grpc_gen import milvus_pb2 as messages

        request = messages.DropCollectionRequest(collection_name=self._collection)
        self._calls.call("DropCollection", request)
        self._gone.clear()

    def apply(self, changes: Changes) -> None:
        """Take changes in; when this returns, the server has acknowledged all of them.

        After large ones, `settle` waits until they are found as surely as the rest.

        Raises:
            CollectionGone: The collection isn't there any more.
            EngineError: The server can't be asked. Apply the same changes again.
        """
        from pymilvus.grpc_gen import milvus_pb2 as messages

        for some in _batches(changes.removed_ids, _IDS):
            request = messages.DeleteRequest(collection_name=self._collection, expr=_among(some))
            self._ask("Delete", request)
        self._gone.update(changes.removed_ids.tolist())
        if changes.added_vectors is not None:
            ids, places = np.unique(changes.added_ids, return_index=True)
            keep = np.array([one not in self._gone for one in ids.tolist()], dtype=bool)
            for some in _batches(places[keep], max(_BYTES // (4 * self._dim), 1)):
                request = self._upsert(changes.added_ids[some], changes.added_vectors[some])
                self._ask("Upsert", request)
            self._seal_after(ids[keep])
        # A removal is acknowledged without its own.
        self.require(self._ask("AllocTimestamp", messages.AllocTimestampRequest()).timestamp)

    def settle(self, seconds: float = CALL_SECONDS) -> bool:
        """Wait until the server has built the graph or cells of all that was applied.

        Until then, of what came last in large changes, it finds nine of ten.

        Returns:
            Whether that was done within so many seconds.

        Raises:
            CollectionGone: The collection isn't there any more.
            EngineError: The server can't be asked.
        """
        from pymilvus.grpc_gen import milvus_pb2 as messages

        until = time.monotonic() + seconds
        self._seal()
        name = self._collection
        stored = messages.GetPersistentSegmentInfoRequest(collectionName=name)
        loaded = messages.GetQuerySegmentInfoRequest(collectionName=name)
        while True:
            ready = {
                one.segmentID
                for one in self._ask("GetQuerySegmentInfo", loaded).infos
                if one.index_name or one.num_rows < _INDEXED
            }
            wanted = self._ask("GetPersistentSegmentInfo", stored).infos
            if all(one.segmentID in ready for one in wanted if one.num_rows):
                return True
            if time.monotonic() > until:
                return False
            time.sleep(_PAUSE_SECONDS)

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allow: NDArray[np.int64] | None = None,
        probes: int | None = None,
    ) -> Hits:
        """Find the k nearest vectors of each query, as many as there are.

        Among few allowed ones, and where more than the server returns are wanted, all are looked
        at.

        Args:
            queries: float32, shape `(n_queries, dim)`, L2-normalised.
            k: At least 1.
            allow: int64 ids to search among; `None` allows all.
            probes: How many candidates a graph keeps, or how many cells of each segment are
                looked into; `None` takes what finds 99 % of the ten nearest.

        Raises:
            ValueError: The queries' shape is not `(n, dim)`, or k is below 1.
            CollectionGone: The collection isn't there any more.
            EngineError: The server can't be asked.
        """
        require_question(queries, k, self._dim)
        hits = Hits.empty(len(queries), k, error=SUMMING)
        if not len(queries) or self._closed:
            return hits
        few = allow is not None and len(allow) <= _FEW
        look = self._scan if few or k > _MOST else self._look
        depth = probes or _DEPTH
        if allow is None:
            return _nearer(hits, look(queries, k, "", depth))
        for some in _batches(np.unique(allow), _IDS):
            # Of a share of the vectors, the nearest lie so much farther out than of all.
            depth = int(_FILTERED * (probes or _DEPTH) * max(self._roughly() / len(some), 1))
            hits = _nearer(hits, look(queries, k, _among(some), depth))
        return hits

    def missing(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of some ids that are not held.

        Raises:
            CollectionGone: The collection isn't there any more.
            EngineError: The server can't be asked.
        """
        held = [
            np.array(
                self._query(_among(some), [_ID], self._timestamp)
                .fields_data[0]
                .scalars.long_data.data,
                dtype=np.int64,
            )
            for some in _batches(ids, _IDS)
        ]
        return np.setdiff1d(ids, np.concatenate([np.empty(0, dtype=np.int64), *held]))

    def close(self) -> None:
        """Let the connection go; the collection stays."""
        self._closed = True
        self._calls.close()

    def _look(self, queries: NDArray[np.float32], k: int, expression: str, depth: int) -> Hits:
        """Search the server's graph or cells, deeper for queries that find less than there is."""
        hits = self._ask_nearest(queries, k, expression, depth)
        short = np.flatnonzero(hits.ids[:, -1] < 0)
        if len(short):
            found = min(k, self._count(expression, self._timestamp))
            short = short[np.count_nonzero(hits.ids[short] >= 0, axis=1) < found]
        if len(short):
            look = self._look if depth < _DEEPEST else self._scan
            more = look(queries[short], k, expression, depth * _DEEPER)
            hits.ids[short], hits.distances[short] = more.ids, more.distances
        return hits

    def _ask_nearest(
        self, queries: NDArray[np.float32], k: int, expression: str, depth: int
    ) -> Hits:
        from pymilvus.grpc_gen import common_pb2 as common
        from pymilvus.grpc_gen import milvus_pb2 as messages

        depth = min(depth, _DEEPEST)
        # Each kind of index takes its own.
        told = json.dumps({"ef": max(depth, k), "nprobe": depth})
        hits = Hits.empty(len(queries), k, error=SUMMING)
        rows_at_once = max(min(_HITS // k, _BYTES // (4 * self._dim)), 1)
        for start in range(0, len(queries), rows_at_once):
            some = np.ascontiguousarray(queries[start : start + rows_at_once], dtype="<f4")
            group = common.PlaceholderGroup(
                placeholders=[
                    common.PlaceholderValue(
                        tag="$0", type="FloatVector", values=[row.tobytes() for row in some]
                    )
                ]
            )
            request = messages.SearchRequest(
                collection_name=self._collection,
                dsl=expression,
                dsl_type="BoolExprV1",
                placeholder_group=group.SerializeToString(),
                nq=len(some),
                search_params=_pairs(anns_field=_VECTOR, topk=k, metric_type="IP", params=told),
                **self._guarantee(self._timestamp),
            )
            results = self._ask("Search", request).results
            counts = np.array(results.topks, dtype=np.int64)
            rows = np.repeat(np.arange(start, start + len(counts)), counts)
            columns = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
            hits.ids[rows, columns] = results.ids.int_id.data
            hits.distances[rows, columns] = _distances(np.array(results.scores, dtype=np.float32))
        return hits

    def _scan(
        self,
        queries: NDArray[np.float32],
        k: int,
        expression: str,
        depth: int,  # noqa: ARG002 - everything is looked at
    ) -> Hits:
        """Fetch all vectors that an expression allows, and compare with each."""
        hits = Hits.empty(len(queries), k, error=SUMMING)
        for ids, vectors in self._vectors(expression):
            distances = _distances(queries @ vectors.T)
            hits = _nearer(hits, Hits(np.broadcast_to(ids, distances.shape), distances, SUMMING))
        return hits

    def _vectors(self, expression: str) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield ids and vectors, by ascending ids."""
        most = min(_MOST, max(_BYTES // (4 * self._dim), 1))
        last = ""
        while True:
            wanted = " && ".join(filter(None, (last, expression)))
            answer = self._query(wanted, [_ID, _VECTOR], self._timestamp, limit=most)
            fields = {field.field_name: field for field in answer.fields_data}
            ids = np.array(fields[_ID].scalars.long_data.data, dtype=np.int64)
            if len(ids):
                flat = np.array(fields[_VECTOR].vectors.float_vector.data, dtype=np.float32)
                yield ids, flat.reshape(len(ids), self._dim)
                last = f"{_ID} > {ids.max()}"
            if len(ids) < most:
                return

    def _count(self, expression: str, timestamp: int) -> int:
        answer = self._query(expression, ["count(*)"], timestamp)
        return int(answer.fields_data[0].scalars.long_data.data[0])

    def _roughly(self) -> int:
        """How many vectors there are, told quickly: some that went may be among them."""
        from pymilvus.grpc_gen import milvus_pb2 as messages

        request = messages.GetCollectionStatisticsRequest(collection_name=self._collection)
        stats = self._ask("GetCollectionStatistics", request).stats
        return next(int(one.value) for one in stats if one.key == "row_count")

    def _query(
        self, expression: str, fields: list[str], timestamp: int, limit: int | None = None
    ) -> Any:
        from pymilvus.grpc_gen import milvus_pb2 as messages

        request = messages.QueryRequest(
            collection_name=self._collection,
            expr=expression,
            output_fields=fields,
            query_params=[] if limit is None else _pairs(limit=limit),
            **self._guarantee(timestamp),
        )
        return self._ask("Query", request)

    def _guarantee(self, timestamp: int) -> dict[str, Any]:
        """Return what makes the server wait until it has all changes up to a timestamp."""
        level = "Customized" if timestamp else "Strong"
        return {"guarantee_timestamp": timestamp, "consistency_level": level}

    def _upsert(self, ids: NDArray[np.int64], vectors: NDArray[Any]) -> Any:
        from pymilvus.grpc_gen import milvus_pb2 as messages
        from pymilvus.grpc_gen import schema_pb2 as schemas

        # Bytes are packed as floats are: number by number it would take a hundred times as long.
        packed = schemas.BytesArray(data=[np.asarray(vectors, dtype="<f4").tobytes()])
        flat = schemas.FloatArray.FromString(packed.SerializeToString())
        return messages.UpsertRequest(
            collection_name=self._collection,
            num_rows=len(ids),
            fields_data=[
                schemas.FieldData(
                    field_name=_ID,
                    type="Int64",
                    scalars=schemas.ScalarField(long_data=schemas.LongArray(data=ids.tolist())),
                ),
                schemas.FieldData(
                    field_name=_VECTOR,
                    type="FloatVector",
                    vectors=schemas.VectorField(dim=self._dim, float_vector=flat),
                ),
            ],
        )

    def _seal_after(self, ids: NDArray[np.int64]) -> None:
        """Seal what was added now and then; nobody has to know who added how much.

        Ids ascend as a store gives them out, so each so many of them cross a multiple once.
        """
        rows = max(_SEALED // (4 * self._dim), 1)
        places = ids // rows
        self._unsealed |= bool(len(ids)) and bool(places.min() < (ids.max() + 1) // rows)
        if self._unsealed and time.monotonic() - self._sealed_at >= _SEAL_SECONDS:
            self._seal()

    def _seal(self) -> None:
        from pymilvus.grpc_gen import milvus_pb2 as messages

        self._ask("Flush", messages.FlushRequest(collection_names=[self._collection]))
        self._unsealed, self._sealed_at = False, time.monotonic()

    def _ask(self, name: str, request: Any) -> Any:
        """Call the server; a collection that isn't loaded, as after a restart, is loaded first."""
        try:
            return self._calls.call(name, request)
        except NotLoaded:
            self._load()
            return self._calls.call(name, request)

    def _load(self) -> None:
        from pymilvus.grpc_gen import milvus_pb2 as messages

        until = time.monotonic() + CALL_SECONDS
        name = self._collection
        self._calls.call("LoadCollection", messages.LoadCollectionRequest(collection_name=name))
        request = messages.GetLoadingProgressRequest(collection_name=name)
        while (progress := self._calls.call("GetLoadingProgress", request).progress) < 100:
            if time.monotonic() > until:
                raise EngineError(
                    f"The Milvus server at {self._calls.address} is still loading {name}: "
                    f"{progress} % after {CALL_SECONDS:g} s. Try again later."
                )
            time.sleep(_PAUSE_SECONDS)


def _pairs(**values: object) -> list[Any]:
    from pymilvus.grpc_gen import common_pb2 as common

    return [common.KeyValuePair(key=key, value=str(value)) for key, value in values.items()]


def _among(ids: NDArray[np.int64]) -> str:
    return f"{_ID} in {ids.tolist()}"


def _batches(values: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _distances(similarities: NDArray[np.float32]) -> NDArray[np.float32]:
    # Rounding can carry a product of unit vectors past 1.
    return np.clip(1 - similarities, 0, 2)


def _nearer(one: Hits, other: Hits) -> Hits:
    """Return the nearest of both, as many as the first holds, ties by id."""
    ids = np.concatenate([one.ids, other.ids], axis=1)
    distances = np.concatenate([one.distances, other.distances], axis=1)
    order = np.lexsort((ids, distances))[:, : one.ids.shape[1]]
    return Hits(
        np.take_along_axis(ids, order, axis=1),
        np.take_along_axis(distances, order, axis=1),
        one.error,
    )
