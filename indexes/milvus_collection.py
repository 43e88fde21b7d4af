"""One collection of ids and vectors on a Milvus server: what is asked of it, and told in NumPy.

The server keeps what came last in segments that grow, and builds a graph, or the cells of an
inverted file, of each that is sealed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexes.milvus_calls import CALL_SECONDS, Calls, NoIndex, NotLoaded, protocol
from indexes.protocol import SUMMING, CollectionGone, EngineError, Hits

MOST = 16_384
"""Vectors the server returns, and queries it takes, at most."""
DEEPEST = 32_768
"""Candidates a search in a graph keeps at most; more cells than there are."""

# Links of a vector in the graph, and how many candidates its building keeps.
_LINKS, _BUILD_DEPTH = 16, 200
# Cells of each segment.
_CELLS = 1024
# Vectors of a segment from which on it gets a graph or cells; fewer are all looked at.
_INDEXED = 1024
# Bytes of vectors, and hits, in a message; a server takes and sends 64 MB.
_BYTES, _HITS = 16_000_000, 2_000_000
# How long to wait before a state is looked at again.
_PAUSE_SECONDS = 0.05
_ID, _VECTOR, _INDEX = "id", "vector", "nearest"


class Collection:
    """A collection by name; whether it is there, the server knows.

    Its methods raise `EngineError` where the server can't be asked, and `CollectionGone` where it
    holds no such collection.
    """

    def __init__(self, calls: Calls, name: str, dim: int) -> None:
        self._calls = calls
        self._name = name
        self.dim = dim
        self._rows = max(_BYTES // (4 * dim), 1)

    def identity(self) -> str:
        """Return what names this very collection, not another one made later under its name."""
        answer = self._describe()
        return f"{answer.collectionID}-{answer.created_timestamp}"

    def create(self, *, cells: bool) -> None:
        """Make it, of a graph or of cells, and load it; one that is there stays as it is."""
        try:
            held = self._describe().schema.fields
        except CollectionGone:
            schema = protocol().schema_pb2.CollectionSchema(
                name=self._name,
                fields=[
                    {"name": _ID, "data_type": "Int64", "is_primary_key": True},
                    {
                        "name": _VECTOR,
                        "data_type": "FloatVector",
                        "type_params": _pairs(dim=self.dim),
                    },
                ],
            )
            self._calls.call(
                "CreateCollection",
                collection_name=self._name,
                schema=schema.SerializeToString(),
                shards_num=1,
            )
        else:
            lengths = [one.value for field in held for one in field.type_params if one.key == "dim"]
            if lengths != [str(self.dim)]:
                raise EngineError(
                    f"The collection {self._name} of the Milvus server at {self._calls.address} "
                    f"is not for vectors of length {self.dim}. Drop it, or take another name."
                )
        try:
            self._calls.call("DescribeIndex", collection_name=self._name)
        except NoIndex:
            self._index(cells=cells)
        self._load()

    def drop(self) -> None:
        """Delete it; nothing happens where there is none."""
        self._calls.call("DropCollection", collection_name=self._name)

    def delete(self, ids: NDArray[np.int64]) -> None:
        """Delete these ids; those it doesn't hold are allowed."""
        self._ask("Delete", expr=among(ids))

    def upsert(self, ids: NDArray[np.int64], vectors: NDArray[Any]) -> None:
        """Put vectors in; those that are there already stay one.

        Args:
            ids: int64, shape `(n,)`, distinct.
            vectors: float16 or float32, shape `(n, dim)`.
        """
        schemas = protocol().schema_pb2
        for start in range(0, len(ids), self._rows):
            some = np.asarray(vectors[start : start + self._rows], dtype="<f4")
            # Bytes are packed as floats are: number by number it takes a hundred times as long.
            packed = schemas.BytesArray(data=[some.tobytes()]).SerializeToString()
            flat = schemas.FloatArray.FromString(packed)
            numbers = {"long_data": {"data": ids[start : start + self._rows].tolist()}}
            self._ask(
                "Upsert",
                num_rows=len(some),
                fields_data=[
                    {"field_name": _ID, "type": "Int64", "scalars": numbers},
                    {
                        "field_name": _VECTOR,
                        "type": "FloatVector",
                        "vectors": {"dim": self.dim, "float_vector": flat},
                    },
                ],
            )

    def seal(self) -> None:
        """Let the server seal the segments that grow, and build their graph or cells."""
        self._calls.call("Flush", collection_names=[self._name])

    def is_settled(self) -> bool:
        """Whether all that is sealed is searched by its graph or cells."""
        loaded = self._calls.call("GetQuerySegmentInfo", collectionName=self._name).infos
        stored = self._calls.call("GetPersistentSegmentInfo", collectionName=self._name).infos
        ready = {one.segmentID for one in loaded if one.index_name or one.num_rows < _INDEXED}
        states = protocol().common_pb2.SegmentState
        # What is being sealed has no rows yet.
        empty = {
            one.segmentID for one in stored if one.state == states.Flushed and not one.num_rows
        }
        passing = {one.segmentID for one in stored if one.state in (states.Growing, states.Dropped)}
        return {one.segmentID for one in stored} <= ready | empty | passing

    def now(self) -> int:
        """Return a timestamp after all that the server has acknowledged."""
        return int(self._calls.call("AllocTimestamp").timestamp)

    def count(self, timestamp: int, expression: str = "") -> int:
        """How many vectors an expression allows; all, where it is empty."""
        answer = self._query(timestamp, expr=expression, output_fields=["count(*)"])
        return int(answer.fields_data[0].scalars.long_data.data[0])

    def estimate(self) -> int:
        """How many vectors there are, told quickly: some that went may be among them."""
        stats = self._ask("GetCollectionStatistics").stats
        return next(int(one.value) for one in stats if one.key == "row_count")

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        depth: int,
        timestamp: int,
        expression: str = "",
    ) -> Hits:
        """Search graph or cells, as deep as told; hits may be fewer than there are.

        Args:
            queries: float32, shape `(n, dim)`.
            k: At most `MOST`.
            depth: How many candidates a graph keeps, or how many cells are looked into.
            timestamp: The server waits until it has all changes up to this one; 0: all there are.
            expression: Allows vectors by id; the empty one allows all.
        """
        depth = min(depth, DEEPEST)
        # Each kind takes its own.
        told = json.dumps({"ef": max(depth, k), "nprobe": depth})
        hits = Hits.empty(len(queries), k, error=SUMMING)
        size = min(_HITS // k, self._rows, MOST)
        for start in range(0, len(queries), size):
            some = queries[start : start + size]
            results = self._ask(
                "Search",
                dsl=expression,
                dsl_type="BoolExprV1",
                placeholder_group=_group(some),
                nq=len(some),
                search_params=_pairs(anns_field=_VECTOR, topk=k, metric_type="IP", params=told),
                **_guarantee(timestamp),
            ).results
            counts = np.array(results.topks, dtype=np.int64)
            rows = np.repeat(np.arange(start, start + len(counts)), counts)
            columns = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
            hits.ids[rows, columns] = results.ids.int_id.data
            hits.distances[rows, columns] = distances(np.array(results.scores, dtype=np.float32))
        return hits

    def held(self, timestamp: int, expression: str) -> NDArray[np.int64]:
        """Return the ids of all that an expression allows."""
        answer = self._query(timestamp, expr=expression, output_fields=[_ID])
        return np.array(answer.fields_data[0].scalars.long_data.data, dtype=np.int64)

    def vectors(
        self, timestamp: int, expression: str = ""
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield ids, ascending, and vectors, shape `(n, dim)`, of all that an expression allows."""
        most = min(MOST, self._rows)
        beyond = ""
        while True:
            answer = self._query(
                timestamp,
                expr=" && ".join(filter(None, (beyond, expression))),
                output_fields=[_ID, _VECTOR],
                query_params=_pairs(limit=most),
            )
            fields = {field.field_name: field for field in answer.fields_data}
            ids = np.array(fields[_ID].scalars.long_data.data, dtype=np.int64)
            if len(ids):
                flat = np.array(fields[_VECTOR].vectors.float_vector.data, dtype=np.float32)
                yield ids, flat.reshape(len(ids), self.dim)
                beyond = f"{_ID} > {ids.max()}"
            if len(ids) < most:
                return

    def _describe(self) -> Any:
        return self._calls.call("DescribeCollection", collection_name=self._name)

    def _index(self, *, cells: bool) -> None:
        kind, building = "HNSW", {"M": _LINKS, "efConstruction": _BUILD_DEPTH}
        if cells:
            kind, building = "IVF_FLAT", {"nlist": _CELLS}
        self._calls.call(
            "CreateIndex",
            collection_name=self._name,
            field_name=_VECTOR,
            index_name=_INDEX,
            extra_params=_pairs(index_type=kind, metric_type="IP", params=json.dumps(building)),
        )

    def _query(self, timestamp: int, **fields: Any) -> Any:
        return self._ask("Query", **fields, **_guarantee(timestamp))

    def _ask(self, name: str, **fields: Any) -> Any:
        """Call the server; a collection that isn't loaded, as after a restart, is loaded first."""
        try:
            return self._calls.call(name, collection_name=self._name, **fields)
        except NotLoaded:
            self._load()
            return self._calls.call(name, collection_name=self._name, **fields)

    def _load(self) -> None:
        until = time.monotonic() + CALL_SECONDS
        self._calls.call("LoadCollection", collection_name=self._name)
        while True:
            answer = self._calls.call("GetLoadingProgress", collection_name=self._name)
            if answer.progress >= 100:
                return
            if time.monotonic() > until:
                raise EngineError(
                    f"The Milvus server at {self._calls.address} is still loading {self._name}: "
                    f"{answer.progress} % after {CALL_SECONDS:g} s. Try again later."
                )
            time.sleep(_PAUSE_SECONDS)


def among(ids: NDArray[np.int64]) -> str:
    """Return the expression that allows these ids."""
    return f"{_ID} in {ids.tolist()}"


def distances(similarities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine distances of unit vectors with these inner products."""
    # Rounding can carry a product of unit vectors past 1.
    return np.clip(1 - similarities, 0, 2)


def _guarantee(timestamp: int) -> dict[str, Any]:
    level = "Customized" if timestamp else "Strong"
    return {"guarantee_timestamp": timestamp, "consistency_level": level}


def _pairs(**values: object) -> list[dict[str, str]]:
    return [{"key": key, "value": str(value)} for key, value in values.items()]


def _group(queries: NDArray[np.float32]) -> bytes:
    rows = [row.tobytes() for row in np.ascontiguousarray(queries, dtype="<f4")]
    told = {"tag": "$0", "type": "FloatVector", "values": rows}
    group: bytes = protocol().common_pb2.PlaceholderGroup(placeholders=[told]).SerializeToString()
    return group
