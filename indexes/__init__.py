"""Vector indexes behind one protocol. They know ids and vectors, and nothing else."""

from indexes.exact import ExactIndex
from indexes.files import KINDS, load, save, suffix
from indexes.ivf import IvfIndex
from indexes.pgvector import PgvectorIndex, VectorTable
from indexes.protocol import Changes, Hits, IndexFileError, VectorIndex

__all__ = [
    "KINDS",
    "Changes",
    "ExactIndex",
    "Hits",
    "IndexFileError",
    "IvfIndex",
    "PgvectorIndex",
    "VectorIndex",
    "VectorTable",
    "load",
    "save",
    "suffix",
]
