"""What proposes candidates to a searcher, and how it keeps up with the store.

A gallery in a folder has index files (`generations`). One in a database is searched where its
vectors are (`in_database`), or by a Milvus server that follows its change log (`in_milvus`).
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from db import Glance, Reader
from indexes import Hits, IvfIndex, VectorIndex
from retrieval.generations import changes_since, open_newest


class Proposer(Protocol):
    """An index as a searcher holds it: it proposes, the store decides."""

    asked: str
    """What the settings said of the index when it was opened."""
    generation: int
    """The sequence number of the file it was opened from; -1 without one."""

    def __len__(self) -> int:
        """At least as many vectors as can be found."""

    def may_miss(self, glance: Glance) -> bool:
        """Whether it may have left out a vector that is nearer than those it named."""

    def follow(self, tx: Reader, seq: int) -> None:
        """Take in what came and went in the store after `seq`, up to a snapshot.

        Raises:
            EngineError: The engine can't be used.
        """

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
        """Find the k nearest vectors; see `VectorIndex.search`.

        Args:
            glance: The snapshot that will decide.
            queries: float32, shape `(n_queries, dim)`, L2-normalised.
            k: At least 1.
            allow: int64 ids to search among; `None` allows all.
            probes: How far an approximate index looks; `None` takes what it was tuned to.
            again: Look much farther than that: what was found leaves doubts.

        Raises:
            StaleError: It knows more than the snapshot by now.
            EngineError: The engine can't be used.
        """

    def close(self) -> None:
        """Give back what it holds."""


# How many times as far an index looks the second time.
FARTHER = 4


class StaleError(Exception):
    """An index was brought up to date with a later snapshot: ask with that."""


class FileProposer:
    """An index of this process, opened from a file of the gallery's folder."""

    def __init__(self, tx: Reader, folder: Path, asked: str) -> None:
        """Open the newest usable generation; what came later is not in it yet."""
        self.asked = asked
        self._index: VectorIndex
        self._index, self.generation = open_newest(tx, folder)
        self._seq = self.generation
        # Changes are taken in where they are searched.
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._index)

    def may_miss(self, glance: Glance) -> bool:  # noqa: ARG002 - a file is what it is
        """Whether it has cells."""
        return isinstance(self._index, IvfIndex)

    def follow(self, tx: Reader, seq: int) -> None:
        """Apply the change log."""
        with self._lock:
            if seq < tx.seq:
                self._index.apply(changes_since(tx, seq))
            self._seq = tx.seq

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
        """Search it, one thread at a time."""
        with self._lock:
            if self._seq != glance.seq:
                raise StaleError
            if again and isinstance(self._index, IvfIndex):
                probes = FARTHER * self._index.probes
            return self._index.search(queries, k, allow=allow, probes=probes)

    def close(self) -> None:
        """Let the index go."""
        with self._lock:
            self._index.close()
