"""Finding the nearest items in one snapshot: candidates are asked for until nothing can be nearer.

The distances that leave this module are computed from the stored vectors, never taken from an
index.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from db import Candidate, Glance, StoredEncoder, Threshold
from indexes import Hits
from retrieval.filtering import SCANNED, Allowed, scan
from retrieval.identification import NearestItem
from retrieval.proposing import Proposer
from retrieval.ranking import identity_candidates, nearest_items, nearest_of_each, rank
from retrieval.rules import NEAREST, RULES

# Candidates whose stored vectors are looked at first, beyond k.
_SPARE = 8
# Candidates the index names at first, and how many times as many where those don't suffice.
_DEPTH, _DEEPER = 40, 4
# The same where the nearest of another identity is wanted too: the index takes hardly longer.
_DEPTH_OF_IDENTITIES = 160
# Candidates kept in memory: some 50 MB at 1280 dimensions.
_KEPT = 16_384

Doubt = Callable[[Threshold | None, list[NearestItem]], bool]
"""Says of an answer, by the gallery's threshold and the nearest item of each of the nearest
identities, whether it is worth looking farther for a better one."""


def always(_stored: Threshold | None, _identities: list[NearestItem]) -> bool:
    """Look farther for every answer: a `Doubt` for those who have the time."""
    return True


@dataclass(frozen=True)
class Found:
    """What a search found, all of one moment.

    Attributes:
        items: The k nearest items of each query, nearest first, ties by id.
        identities: The nearest item of each of the nearest identities, nearest first; as many as
            were asked for, but for those farther off than anything unrelated.
        count: How many items there are.
        threshold: The gallery's threshold.
        among: How many items were searched among: those that meet the conditions, or all.
    """

    items: list[list[NearestItem]]
    identities: list[list[NearestItem]]
    count: int
    threshold: Threshold | None
    among: int


@dataclass(frozen=True)
class Held:
    """What is in memory of the store as it was at a sequence number."""

    seq: int
    proposer: Proposer
    count: int
    encoder: StoredEncoder
    threshold: Threshold | None
    # Until when an engine that is down is not asked again, by the monotonic clock.
    stands_in_until: float
    # Candidates of late, by vector id: queries resemble each other.
    kept: dict[int, Candidate] = field(default_factory=dict)
    # What vectors show, by id.
    shown: dict[int, str | int] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether the engine that it stands in for is to be asked again."""
        return -math.inf < self.stands_in_until < time.monotonic()

    def candidates(self, glance: Glance, ids: list[int]) -> list[Candidate]:
        """Return what the store holds of these vectors; ids it doesn't know are left out."""
        found = {one: kept for one in ids if (kept := self.kept.get(one))}
        missing = [one for one in ids if one not in found]
        if missing:
            fetched = {one.vector_id: one for one in glance.candidates(missing, self.encoder)}
            if len(self.kept) > _KEPT:
                self.kept.clear()
            self.kept.update(fetched)
            found |= fetched
        return [found[one] for one in ids if one in found]

    def identities(self, glance: Glance, ids: list[int], first: int, last: int) -> list[str | int]:
        """Return what the vectors from one place up to another show, all of them live."""
        some = ids[first:last]
        missing = [one for one in some if one not in self.shown]
        if missing:
            self.shown.update(glance.identities(missing))
        # One the store doesn't know is nobody else's.
        return [self.shown.get(one, -one) for one in some]


def find(
    glance: Glance,
    held: Held,
    queries: NDArray[np.float32],
    k: int,
    identities: int | None,
    allowed: Allowed | None,
    probes: int | None,
    doubt: Doubt | None,
) -> Found:
    """Find the nearest items and identities; see `Searcher.search`.

    Args:
        glance: The snapshot that decides.
        held: What is known of it.
        queries: float32, shape `(n, dim)`, L2-normalised.
        k: At least 1.
        identities: At least 1; `None` takes as many as the gallery's rule looks at, at least 2.
        allowed: What is searched among; `None`: all.
        probes: How far an approximate index looks; `None`: as far as it was tuned to.
        doubt: Which answers it has to look farther for; `None`: none.

    Raises:
        StaleError: The index was brought up to date with a later snapshot.
        EngineError: The index is a server that can't be asked.
    """
    if identities is None:
        rule = RULES[held.threshold.rule] if held.threshold else NEAREST
        identities = max(2, rule.identities)
    if allowed is not None and len(allowed.ids) <= SCANNED:
        every = held.candidates(glance, allowed.ids.tolist())
        found = scan(queries, every, k, identities)
        return Found(*found, held.count, held.threshold, allowed.items)
    allow = None if allowed is None else allowed.ids
    propose = partial(held.proposer.search, glance, allow=allow)
    count = len(held.proposer) if allow is None else len(allow)
    items, nearest = _prove(
        glance, held, partial(propose, probes=probes), queries, k, identities, count
    )
    places = []
    if doubt is not None:
        places = [place for place, one in enumerate(nearest) if doubt(held.threshold, one)]
    if places and held.proposer.may_miss(glance):
        farther = partial(propose, probes=None, again=True)
        more = _prove(glance, held, farther, queries[places], k, identities, count)
        for place, near_items, near_identities in zip(places, *more, strict=True):
            items[place], nearest[place] = near_items, near_identities
    among = held.count if allowed is None else allowed.items
    return Found(items, nearest, held.count, held.threshold, among)


def _prove(
    glance: Glance,
    held: Held,
    propose: Callable[[NDArray[np.float32], int], Hits],
    queries: NDArray[np.float32],
    k: int,
    identities: int,
    count: int,
) -> tuple[list[list[NearestItem]], list[list[NearestItem]]]:
    """Ask for more candidates until those left out can't be nearer than the answers."""
    answers: list[list[NearestItem]] = [[] for _ in queries]
    nearest: list[list[NearestItem]] = [[] for _ in queries]
    pending = list(range(len(queries)))
    depth = max(_DEPTH if identities == 1 else _DEPTH_OF_IDENTITIES, 2 * k)
    while pending:
        some = queries if len(pending) == len(queries) else queries[pending]
        hits = propose(some, max(min(depth, count), 1))
        unproven = []
        for row, place in enumerate(pending):
            distances = hits.distances[row]
            ids: list[int] = hits.ids[row].tolist()
            # A few at first: their k-th tells how far off a nearer one may be reported.
            first = k + _SPARE
            if identities == 1 and count:
                # What is told to be beyond the k-th by twice the error can't be nearer.
                last = distances[min(k, depth, count) - 1] + 2 * hits.error
                first = min(int(distances.searchsorted(last, side="right")), first)
            looked_at = ids[:first]
            proven = True
            if identities > 1:
                near = identity_candidates(
                    partial(held.identities, glance, ids),
                    distances.tolist(),
                    identities,
                    error=hits.error,
                    complete=depth >= count,
                )
                proven = near is not None
                looked_at += [ids[one] for one in near or () if one >= len(looked_at)]
            ranked = rank(queries[place], held.candidates(glance, looked_at))
            reach = ranked[k - 1][0] + hits.error if len(ranked) >= k else np.inf
            within = int(distances.searchsorted(reach, side="right"))
            if within > first:
                known = set(looked_at)
                others = [one for one in ids[first:within] if one not in known]
                ranked = sorted(ranked + rank(queries[place], held.candidates(glance, others)))
            if not proven or within == depth < count:
                unproven.append(place)
                continue
            answers[place] = nearest_items(ranked[:k])
            nearest[place] = (
                answers[place][:1]
                if identities == 1
                else nearest_items(nearest_of_each(ranked, identities))
            )
        pending, depth = unproven, depth * _DEEPER
    return answers, nearest
