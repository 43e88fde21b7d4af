"""Dividing the photos of a build among the builders of one gallery, so that none is done twice.

A builder claims some photos at a time, and gives the claims back once they are committed. What
others have claimed is looked at again: they store it, or they die, and their claims are anybody's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from db import Item, Share, Store
from retrieval.sources import Source

# Photos claimed at a time: few enough that builders end together, many enough to be worth it.
_CLAIMED = 64
# How long to wait before looking again at what others are doing.
_AGAIN_SECONDS = 0.25


class Division:
    """The photos of one run that are still to be done, by this builder or by another."""

    def __init__(
        self,
        store: Store,
        share: Share,
        sources: Sequence[Source],
        is_as_stored: Callable[[Source, Item], bool],
    ) -> None:
        """Claim nothing yet.

        Args:
            store: The gallery's store.
            share: This builder's part in what is built there.
            sources: What is to be done.
            is_as_stored: Says whether a photo is what is stored of it.
        """
        self._store = store
        self._share = share
        self._left = list(sources)
        self._is_as_stored = is_as_stored
        self.done_by_others: list[Source] = []

    def rounds(self) -> Iterator[Iterator[Source]]:
        """Yield photos to do, round by round, until every photo was done by somebody."""
        while self._left:
            some, self._left = self._left, []
            before = len(some)
            yield self._mine(some)
            if len(self._left) == before:
                time.sleep(_AGAIN_SECONDS)

    def release(self, sources: Sequence[Source]) -> None:
        """Give back the claims of photos that are committed."""
        self._share.release([str(source.path) for source in sources])

    def _mine(self, sources: list[Source]) -> Iterator[Source]:
        for start in range(0, len(sources), _CLAIMED):
            some = sources[start : start + _CLAIMED]
            granted = self._share.claim([str(source.path) for source in some])
            self._left += [source for source in some if str(source.path) not in granted]
            mine = [source for source in some if str(source.path) in granted]
            yield from self._still_to_do(mine)

    def _still_to_do(self, mine: list[Source]) -> list[Source]:
        """Leave out what another builder has stored since this run looked."""
        if not self._store.is_shared or not mine:
            return mine
        with self._store.read() as tx:
            stored = {item.path: item for item in tx.items(paths=[str(one.path) for one in mine])}
        done = [
            one
            for one in mine
            if (item := stored.get(str(one.path))) is not None and self._is_as_stored(one, item)
        ]
        if done:
            self.done_by_others += done
            self.release(done)
        settled = {str(one.path) for one in done}
        return [one for one in mine if str(one.path) not in settled]
