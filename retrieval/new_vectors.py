"""Making the vectors of another encoder for every item of a gallery, beside those in force.

They are committed as they are made, and seen by nobody until the gallery is switched. Items come
and go meanwhile: what is missing is asked of the store, again and again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from db import Item, Reader, Store, StoredEncoder, Writer
from retrieval.building import Progress
from retrieval.embedding import Embedded, FailedPhoto, Unreadable, embed
from retrieval.encoder_folders import COMING
from retrieval.encoders import Encoder
from retrieval.errors import GalleryError
from retrieval.paths import any_path, missing
from retrieval.sources import Source

# A transaction ends after so many photos or seconds.
_COMMIT_PHOTOS, _COMMIT_SECONDS = 256, 2.0


def require_photos(
    store: Store, gallery: str, state: dict[str, Any], *, drop_missing: bool
) -> None:
    """Refuse before the work what a look at the photos' places tells.

    Args:
        store: The gallery's store.
        gallery: What a user calls it.
        state: What is to be named in the settings: items that have a vector of it already need no
            photo.
        drop_missing: Refuse only where nothing would be left.

    Raises:
        GalleryError: Photos are not there.
        RemoteError: A store doesn't tell.
    """
    with store.read() as tx:
        coming = tx.find_encoder(state["fingerprint"])
        if coming is not None and tx.settings().get(COMING) == state:
            items = list(tx.seen_through(coming).items_without_vector())
        else:
            items = list(tx.items())
        total = tx.count_items()
    lost = missing(item.path for item in items)
    gone = [item for item in items if item.path in lost]
    if gone and not drop_missing:
        raise _refusal(FailedPhoto(gone[0].path, "is not there"), len(gone), total, gallery)
    if gone and len(gone) == total:
        raise nothing_left(gallery)


def embed_items(
    items: Sequence[Item], encoder: Encoder
) -> Iterator[tuple[Item, Embedded | FailedPhoto]]:
    """Embed items anew from their photos, in their order; one that has changed has failed."""
    hashes = {item.path: item.content_hash for item in items}
    outcomes = embed(
        [Source(any_path(item.path)) for item in items],
        encoder,
        # Bytes that are not the item's are not worth decoding.
        is_known=lambda source, content_hash: hashes[str(source.path)] != content_hash,
    )
    for item, outcome in zip(items, outcomes, strict=True):
        if isinstance(outcome, Embedded):
            yield item, outcome
        elif isinstance(outcome, Unreadable):
            yield item, FailedPhoto(item.path, outcome.reason)
        else:
            yield item, FailedPhoto(item.path, "has changed since it was added")


class NewVectors:
    """The vectors to come, and the items that can have none."""

    def __init__(
        self,
        store: Store,
        gallery: str,
        state: dict[str, Any],
        coming: StoredEncoder,
        encoder: Encoder,
        *,
        drop_missing: bool,
        progress: Progress | None,
    ) -> None:
        """Make nothing yet.

        Args:
            store: The gallery's store.
            gallery: What a user calls it.
            state: What the settings name as long as this run may go on.
            coming: The encoder, as the store knows it.
            encoder: The encoder, running.
            drop_missing: Note the items that can't be embedded instead of refusing.
            progress: Told how many photos of how many are done.
        """
        self.coming = coming
        self.embedded = 0
        self._store = store
        self._gallery = gallery
        self._state = state
        self._encoder = encoder
        self._drop_missing = drop_missing
        self._progress = progress or (lambda _done, _total: None)
        # Why an item can't be embedded, by its id and by what it was then.
        self._unusable: dict[tuple[int, str, str], str] = {}

    def embed_missing(self) -> None:
        """Embed every item that has no vector yet.

        Raises:
            GalleryError: Some can't be embedded, or another reembed took over; what was made stays.
        """
        with self._store.read() as tx:
            missing = [item for item in self.lacking(tx) if self.unusable(item) is None]
            total = tx.count_items()
        done = total - len(missing)
        self._progress(done, total)
        made: list[tuple[Item, Embedded]] = []
        committed = time.monotonic()
        for item, outcome in embed_items(missing, self._encoder):
            if isinstance(outcome, Embedded):
                made.append((item, outcome))
            else:
                self._unusable[_as_it_is(item)] = outcome.reason
            done += 1
            self._progress(done, total)
            overdue = time.monotonic() - committed > _COMMIT_SECONDS
            if len(made) >= _COMMIT_PHOTOS or overdue:
                self._commit(made)
                made, committed = [], time.monotonic()
        self._commit(made)
        if self._unusable and not self._drop_missing:
            (_, path, _), reason = next(iter(self._unusable.items()))
            raise _refusal(FailedPhoto(path, reason), len(self._unusable), total, self._gallery)

    def lacking(self, tx: Reader, ids: Sequence[int] | None = None) -> list[Item]:
        """Return the items, or those among `ids`, that have no vector yet."""
        return list(tx.seen_through(self.coming).items_without_vector(ids))

    def unusable(self, item: Item) -> str | None:
        """Say why an item, as it is, can't be embedded; `None` where nothing is known of it."""
        return self._unusable.get(_as_it_is(item))

    def require_turn(self, tx: Writer) -> None:
        """Make sure that no other reembed took over, or raise a GalleryError."""
        if tx.settings().get(COMING) != self._state:
            raise GalleryError(
                f"Another reembed of {self._gallery} has begun or ended meanwhile, so this one "
                f"stops: see `lookalike check -g {self._gallery}`, and run it again if need be."
            )

    def _commit(self, made: Sequence[tuple[Item, Embedded]]) -> None:
        if not made:
            return
        with self._store.write() as tx:
            self.require_turn(tx)
            # Looked up here, under the write lock: some may be gone or done by now.
            lacking = {_as_it_is(item) for item in self.lacking(tx, [item.id for item, _ in made])}
            new = [(item.id, one.vector) for item, one in made if _as_it_is(item) in lacking]
            if new:
                ids, vectors = zip(*new, strict=True)
                tx.add_vectors(ids, np.stack(vectors), self.coming)
        self.embedded += len(new)


def nothing_left(gallery: str) -> GalleryError:
    """Say that no item could be kept."""
    return GalleryError(
        f"None of the photos of {gallery} can be used, so --drop-missing would leave nothing: put "
        "them back at their paths."
    )


def _refusal(first: FailedPhoto, count: int, total: int, gallery: str) -> GalleryError:
    return GalleryError(
        f"{count:,} of {total:,} items can't be embedded anew, the first {first.path} "
        f"({first.reason}): put missing photos back, bring changed ones up to date with "
        f"`lookalike build-index`, or say --drop-missing to remove these items from {gallery}."
    )


def _as_it_is(item: Item) -> tuple[int, str, str]:
    return item.id, item.path, item.content_hash
