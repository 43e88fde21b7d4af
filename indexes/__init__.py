"""Vector indexes behind one protocol. They know ids and vectors, and nothing else."""

from indexes.exact import ExactIndex
from indexes.files import load, save
from indexes.protocol import Changes, Hits, IndexFileError, VectorIndex

__all__ = ["Changes", "ExactIndex", "Hits", "IndexFileError", "VectorIndex", "load", "save"]
