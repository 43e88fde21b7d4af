"""Searching a gallery: the index proposes, the store decides.

The index is a cache of the store, opened and then brought up to date with what came and went since.
`proving` finds what is nearest in one snapshot.
"""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from db import Reader, Store
from indexes import CollectionGone, EngineError
from retrieval.belonging import require_encoder
from retrieval.conditions import Conditions
from retrieval.filtering import Filters
from retrieval.generations import asked, usable
from retrieval.index_choice import EXACT, WHEN_DOWN, open_proposer
from retrieval.proposing import Proposer, StaleError
from retrieval.proving import Doubt, Found, Held, find

# How long an engine that did not answer is left alone.
_DOWN_SECONDS = 30.0

_log = logging.getLogger(__name__)


class Searcher:
    """Answers nearest-item questions about a store that others may be changing.

    It answers for one encoder; where the store belongs to another, a search raises
    `EncoderChanged`.
    """

    def __init__(self, store: Store, index_folder: Path, fingerprint: str | None = None) -> None:
        """Answer for the encoder with this fingerprint; `None`: the store's of this moment."""
        if fingerprint is None:
            with store.read() as tx:
                fingerprint = tx.encoder.fingerprint
        self._store = store
        self._folder = index_folder
        self._fingerprint = fingerprint
        self._held: Held | None = None
        self._lock = Lock()
        self._down_until = -math.inf
        self._filters = Filters()

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        identities: int | None = 1,
        *,
        where: Conditions = (),
        probes: int | None = None,
        doubt: Doubt | None = None,
    ) -> Found:
        """Find the k nearest items, and the nearest identities, of each query.

        The index's distances are off by no more than it says. So candidates are asked for until
        the k nearest of them, by stored vectors, are nearer than anything left out can be. An
        approximate index may still have left out what it didn't look at: where that matters, it
        looks again, much farther.

        Args:
            queries: float32, shape `(n, dim)`, L2-normalised.
            k: At least 1.
            identities: At least 1; `None` takes as many as the rule of the gallery's threshold
                looks at, at least 2.
            where: Find only items that meet all of these conditions, as if there were no others.
            probes: How many cells an approximate index looks into at most; `None`: what it was
                tuned to.
            doubt: Which answers an approximate index has to look farther for; `None`: none.

        Raises:
            GalleryError: No item has a field that is asked for.
            EngineError: The index is a server that is down, and comparing all vectors instead is
                not allowed.
        """
        while True:
            try:
                return self._search_at_once(queries, k, identities, where, probes, doubt)
            except StaleError:
                continue
            except CollectionGone:
                self._drop()  # opened anew, it is filled anew
            except EngineError as error:
                self._stand_in(error)

    def _search_at_once(
        self,
        queries: NDArray[np.float32],
        k: int,
        identities: int | None,
        where: Conditions,
        probes: int | None,
        doubt: Doubt | None,
    ) -> Found:
        held = self._held
        if held is not None and not held.is_over:
            with self._store.glance() as glance:
                allowed = self._filters.kept(held.seq, where) if where else None
                if glance.seq == held.seq and (allowed is not None or not where):
                    return find(glance, held, queries, k, identities, allowed, probes, doubt)
        with self._store.read() as tx:
            held = self._up_to_date(tx)
            allowed = self._filters.read(tx, where) if where else None
            return find(tx.glance, held, queries, k, identities, allowed, probes, doubt)

    def close(self) -> None:
        """Give back the index."""
        with self._lock:
            if self._held is not None:
                self._held.proposer.close()
            self._held = None

    def renew(self) -> None:
        """Open the newest generation, where it spares a search what came and went since."""
        with self._store.read() as tx:
            require_encoder(tx, self._fingerprint)
            held = self._held
            if held is None or all(one.seq <= held.proposer.generation for one in usable(tx)):
                return
            proposer = self._open(tx)
        with self._store.read() as tx, self._lock:
            require_encoder(tx, self._fingerprint)
            generation = proposer.generation
            if self._held is not None and tx.purged_seq <= generation and self._held.seq <= tx.seq:
                self._held = self._hold(tx, proposer, generation)

    def _up_to_date(self, tx: Reader) -> Held:
        require_encoder(tx, self._fingerprint)
        with self._lock:
            held = self._held
            # Others may be searching what was held: it is let go of, not closed.
            if (
                held is None
                or held.is_over
                or held.seq < tx.purged_seq
                or (self._store.is_shared and held.proposer.asked != asked(tx))
            ):
                proposer = self._open(tx)
                held = self._held = self._hold(tx, proposer, proposer.generation)
            elif held.seq < tx.seq:
                held = self._held = self._hold(tx, held.proposer, held.seq)
            elif held.seq > tx.seq:
                raise StaleError
            return held

    def _open(self, tx: Reader) -> Proposer:
        down = time.monotonic() < self._down_until
        if not down:
            self._down_until = -math.inf
        return open_proposer(self._store, tx, self._folder, without_engine=down)

    def _hold(self, tx: Reader, proposer: Proposer, seq: int) -> Held:
        """Bring what was as the store was at `seq` up to date."""
        proposer.follow(tx, seq)
        return Held(
            tx.seq, proposer, tx.count_items(), tx.encoder, tx.threshold(), self._down_until
        )

    def _drop(self) -> None:
        with self._lock:
            self._held = None

    def _stand_in(self, error: EngineError) -> None:
        """Compare all vectors for a while instead of asking a server, or raise its error."""
        with self._store.read() as tx:
            allowed = tx.settings().get(WHEN_DOWN) == EXACT
        if not allowed:
            raise error
        _log.warning("%s Until it answers again all vectors are compared.", error)
        with self._lock:
            self._down_until = time.monotonic() + _DOWN_SECONDS
            self._held = None
