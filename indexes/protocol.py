"""What an index is asked, and how it answers.

An index sees int64 ids and float32 unit vectors, and nothing else: no paths, no labels, no
thresholds. Distances are cosine distances, `1 - a·b`; smaller is closer, whatever the engine below
calls it. Ids are immutable: an id stands for one vector for ever, and once removed never returns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

SUMMING = 1e-5
"""What summing the products of unit vectors in float32 can be off by."""


class IndexFileError(Exception):
    """An index file that can't be read; the text says which, and why."""


class EngineError(Exception):
    """A server that can't be asked; the text says which, what happened and how to mend it."""


class CollectionGone(EngineError):  # noqa: N818 - a state of the server, told apart to be mended
    """What an index keeps on a server is not there any more; it can be made anew."""


def _no_ids() -> NDArray[np.int64]:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Changes:
    """What came and went since an index last looked.

    Attributes:
        added_ids: int64, shape `(n,)`.
        added_vectors: float16 or float32, shape `(n, dim)`, L2-normalised.
        removed_ids: int64, shape `(m,)`; ids the index never held are allowed.
    """

    added_ids: NDArray[np.int64] = field(default_factory=_no_ids)
    added_vectors: NDArray[np.float16] | NDArray[np.float32] | None = None
    removed_ids: NDArray[np.int64] = field(default_factory=_no_ids)


@dataclass(frozen=True)
class Hits:
    """The nearest vectors of each query, nearest first.

    Attributes:
        ids: int64, shape `(n_queries, k)`; −1 where there are fewer than k.
        distances: float32, shape `(n_queries, k)`, cosine distances; +inf where the id is −1.
        error: No true distance is further than this from what the index takes it for. A vector
            that was looked at and is not among the hits is therefore no nearer than the last
            distance less this. An exact index looks at all of them.
    """

    ids: NDArray[np.int64]
    distances: NDArray[np.float32]
    error: float

    @classmethod
    def empty(cls, n_queries: int, k: int, *, error: float = 0.0) -> Self:
        """Return the answer of an index that holds nothing."""
        return cls(
            np.full((n_queries, k), -1, dtype=np.int64),
            np.full((n_queries, k), np.inf, dtype=np.float32),
            error,
        )


class VectorIndex(Protocol):
    """A structure that answers nearest-neighbour questions over ids and vectors."""

    kind: str
    """What can read its file."""

    @property
    def dim(self) -> int:
        """Length of the vectors."""

    def __len__(self) -> int:
        """How many vectors can be found."""

    def apply(self, changes: Changes) -> None:
        """Take changes in. Idempotent: the same changes may be applied again."""

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allow: NDArray[np.int64] | None = None,
        probes: int | None = None,
    ) -> Hits:
        """Find the k nearest vectors of each query.

        Args:
            queries: float32, shape `(n_queries, dim)`, L2-normalised.
            k: At least 1.
            allow: int64 ids to search among; `None` allows all.
            probes: How many cells an approximate index looks into at most; `None` takes what it was
                tuned to. An exact index looks at everything.
        """

    def close(self) -> None:
        """Give back what the index holds; it can't be used afterwards."""


def require_question(queries: NDArray[np.float32], k: int, dim: int) -> None:
    """Make sure that a search can be answered.

    Raises:
        ValueError: The queries' shape is not `(n, dim)`, or k is below 1.
    """
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise ValueError(f"queries must have shape (n, {dim}), not {queries.shape}")
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
