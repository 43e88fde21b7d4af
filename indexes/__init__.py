"""Vector indexes behind one protocol. They know ids and vectors, and nothing else."""

from indexes.exact import ExactIndex
from indexes.files import KINDS, load, save, suffix
from indexes.ivf import IvfIndex
from indexes.milvus import MilvusIndex
from indexes.pgvector import PgvectorIndex, VectorTable
from indexes.protocol import (
    Changes,
    CollectionGone,
    EngineError,
    Hits,
    IndexFileError,
    VectorIndex,
)

__all__ = [
    "KINDS",
    "Changes",
    "CollectionGone",
    "EngineError",
    "ExactIndex",
    "Hits",
    "IndexFileError",
    "IvfIndex",
    "MilvusIndex",
    "PgvectorIndex",
    "VectorIndex",
    "VectorTable",
    "load",
    "save",
    "suffix",
]
