"""What a gallery must answer at each sequence number, by the changes that were committed to it.

Vectors are drawn from paths, so the model needs to be told paths and labels only.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

K, IDENTITIES = 8, 3
_CENTRES = 8

Shown = tuple[str, str | None]  # path, label
Nearest = list[tuple[int, str | None, float]]  # id, label, distance


@dataclass(frozen=True)
class Change:
    """What one write did: items that came or got another image, went, or got another label."""

    seq: int
    added: dict[int, Shown]
    removed: tuple[int, ...]
    relabelled: dict[int, str | None]

    @classmethod
    def told(cls, line: dict[str, Any]) -> Change:
        """Read what a writer told; JSON has made text of ids, and lists of pairs."""
        return cls(
            line["seq"],
            {int(one): (path, label) for one, (path, label) in line.get("added", {}).items()},
            tuple(line.get("removed", ())),
            {int(one): label for one, label in line.get("relabelled", {}).items()},
        )


@dataclass(frozen=True)
class Answer:
    """What a reader was answered to some queries, somewhen between two sequence numbers."""

    first: int
    last: int
    queries: tuple[int, ...]
    items: list[Nearest]
    identities: list[Nearest]
    count: int


def _near_a_centre(text: str, dim: int) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    centre = np.random.default_rng(rng.integers(_CENTRES)).standard_normal(dim)
    values = centre + 0.5 * rng.standard_normal(dim)
    return (values / np.linalg.norm(values)).astype(np.float32)


def vectors_of(paths: Iterable[str], dim: int) -> np.ndarray:
    """Return the vectors of items: float32, shape `(n, dim)`, normalised, in a few clusters."""
    return np.array([_near_a_centre(path, dim) for path in paths], dtype=np.float32)


def queries(dim: int, count: int = 32) -> np.ndarray:
    """Return the queries that readers ask: float32, shape `(count, dim)`, normalised."""
    return vectors_of((f"query {number}" for number in range(count)), dim)


class Model:
    """The items of a gallery, and its answers by brute force over them."""

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._queries = queries(dim).astype(np.float64)
        self.items: dict[int, Shown] = {}
        self._distances: dict[int, np.ndarray] = {}
        self._table: tuple[np.ndarray, np.ndarray] | None = None

    def apply(self, change: Change) -> None:
        """Take a change in; it must fit what is there."""
        self.items |= change.added
        stored = vectors_of((path for path, _ in change.added.values()), self._dim)
        stored = stored.astype(np.float16).astype(np.float64).reshape(-1, self._dim)
        for item_id, row in zip(change.added, 1 - stored @ self._queries.T, strict=True):
            self._distances[item_id] = row
        for item_id in change.removed:
            del self.items[item_id], self._distances[item_id]
        for item_id, label in change.relabelled.items():
            self.items[item_id] = (self.items[item_id][0], label)
        self._table = None

    def nearest(self, query: int) -> Nearest:
        """Return all items by their distance, ties by id."""
        if self._table is None:
            ids = np.array(sorted(self.items), dtype=np.int64)
            rows = [self._distances[one] for one in ids.tolist()]
            self._table = ids, np.array(rows).reshape(len(ids), len(self._queries))
        ids, distances = self._table
        order = np.lexsort((ids, distances[:, query]))
        return [
            (int(ids[one]), self.items[int(ids[one])][1], float(distances[one, query]))
            for one in order
        ]

    def agrees(self, answer: Answer) -> bool:
        """Whether all of an answer is right for what is there now."""
        if answer.count != len(self.items):
            return False
        parts = zip(answer.queries, answer.items, answer.identities, strict=True)
        return all(self._agrees(*part) for part in parts)

    def _agrees(self, query: int, items: Nearest, identities: Nearest) -> bool:
        nearest = self.nearest(query)
        if not _same(items, nearest[:K]):
            return False
        best: dict[object, tuple[int, str | None, float]] = {}
        for one in nearest:
            best.setdefault(("", one[0]) if one[1] is None else one[1], one)
        # Beyond distance 1 there is nothing but the unrelated: only the nearest is told of them.
        return _same(_related(identities), _related(list(best.values())[:IDENTITIES]))


def _related(nearest: Nearest) -> Nearest:
    return nearest[:1] + [one for one in nearest[1:] if one[2] <= 1]


def _same(some: Nearest, others: Nearest) -> bool:
    return [one[:2] for one in some] == [one[:2] for one in others] and all(
        abs(one[2] - other[2]) < 1e-9 for one, other in zip(some, others, strict=True)
    )


def wrong_answers(model: Model, changes: Sequence[Change], answers: list[Answer]) -> list[Answer]:
    """Replay all changes; return the answers that were right at no moment they may speak of.

    Args:
        model: Empty; holds what must be there at the end afterwards.
        changes: All that were committed, in order of their sequence numbers.
        answers: In any order.
    """
    waiting = deque(sorted(answers, key=lambda one: one.first))
    open_ones: list[Answer] = []
    wrong: list[Answer] = []
    seqs = [change.seq for change in changes]
    for change, until in zip([None, *changes], [*seqs, None], strict=True):
        if change is not None:
            model.apply(change)
            # These end before the change.
            wrong += [one for one in open_ones if one.last < change.seq]
            open_ones = [one for one in open_ones if one.last >= change.seq]
        while waiting and (until is None or waiting[0].first < until):
            open_ones.append(waiting.popleft())
        open_ones = [one for one in open_ones if not model.agrees(one)]
    return wrong + open_ones
