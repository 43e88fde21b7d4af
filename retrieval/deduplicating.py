"""Near-duplicates in a gallery: which there are, which item of each group stays, and their removal.

Which of a group's items is kept: one with a label before one without, then the one with the most
pixels, then the largest file (of equal pixels the one least compressed), then the oldest, by id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from db import Item, Store
from retrieval.building import Progress
from retrieval.errors import GalleryError
from retrieval.evaluation.distances import GalleryVectors, distance_blocks, gallery_vectors
from retrieval.evaluation.duplicate_groups import KeptGatherer

WITHIN = ("label", "any")
"""Which items are compared: those of one label (those without one, too), or all."""


@dataclass(frozen=True)
class GroupedItem:
    """An item of a group of near-duplicates.

    Attributes:
        id: Its number.
        label: The identity it is said to show; `None` for none.
        path: Where its image was read.
        content_hash: SHA-256 of the file's bytes then, in hex.
        width: Upright width in pixels.
        height: Upright height in pixels.
        file_size: Bytes.
    """

    id: int
    label: str | None
    path: str
    content_hash: str
    width: int
    height: int
    file_size: int

    @classmethod
    def of(cls, item: Item) -> GroupedItem:
        """Take what matters here of a stored item."""
        return cls(
            id=item.id,
            label=item.label,
            path=item.path,
            content_hash=item.content_hash,
            width=item.width,
            height=item.height,
            file_size=item.file_size,
        )


@dataclass(frozen=True)
class NearDuplicate:
    """An item that another one of its group stands for.

    Attributes:
        item: The item.
        distance: How far it is from the item kept.
        same_bytes: Whether the files of both were the same, byte by byte.
    """

    item: GroupedItem
    distance: float
    same_bytes: bool


@dataclass(frozen=True)
class DuplicateGroup:
    """An item to keep, and its near-duplicates.

    Attributes:
        kept: The best of them.
        duplicates: The others, each a near-duplicate of `kept` itself: same bytes first, then by
            distance, equal ones by id.
    """

    kept: GroupedItem
    duplicates: tuple[NearDuplicate, ...]


@dataclass(frozen=True)
class DedupeReport:
    """The near-duplicates in a gallery, and what was done to them.

    Attributes:
        items: How many items the gallery has.
        below: The distance below which two items are near-duplicates.
        within: Which items were compared: those of one `label`, or `any`.
        n_duplicates: How many items are near-duplicates of a better one.
        groups: The groups, largest first, equal ones by the kept item's id.
        removed: How many items were removed.
    """

    items: int
    below: float
    within: str
    n_duplicates: int
    groups: tuple[DuplicateGroup, ...]
    removed: int = 0


def find_duplicates(
    store: Store, *, below: float, within: str, progress: Progress | None = None
) -> DedupeReport:
    """Group a gallery's near-duplicates, by the stored vectors alone; nothing is changed.

    `retrieval.evaluation.duplicate_groups` defines the groups: every item is a near-duplicate of
    the one that is kept for it, and no two kept items are near-duplicates.

    Args:
        store: The gallery's store.
        below: The distance, in [0, 2], below which two items are near-duplicates. Files that were
            the same byte by byte always are.
        within: `label` compares items of one label, and those without one with each other, so that
            no label is lost; `any` compares all.
        progress: Told how many items of how many are compared.

    Raises:
        GalleryError: `below` or `within` is out of range.
    """
    if not 0 <= below <= 2:
        raise GalleryError(f"below is {below}: say a distance from 0 to 2.")
    if within not in WITHIN:
        raise GalleryError(f"within is {within!r}: say {' or '.join(WITHIN)}.")
    with store.read() as tx:
        gallery = gallery_vectors(tx)
    hashes = [item.content_hash for item in gallery.items]
    contents = np.unique(hashes, return_inverse=True)[1]
    found: dict[int, list[NearDuplicate]] = {}
    done = 0
    for pool in _pools(gallery, within):
        for compared in _compare(gallery, contents, pool, below, found):
            if progress is not None:
                progress(done + compared, len(gallery.items))
        done += len(pool)
    groups = [
        DuplicateGroup(GroupedItem.of(gallery.items[kept]), tuple(sorted(duplicates, key=_rank)))
        for kept, duplicates in found.items()
    ]
    groups.sort(key=lambda group: (-len(group.duplicates), group.kept.id))
    return DedupeReport(
        items=len(gallery.items),
        below=below,
        within=within,
        n_duplicates=sum(len(group.duplicates) for group in groups),
        groups=tuple(groups),
    )


def remove_duplicates(store: Store, report: DedupeReport) -> DedupeReport:
    """Remove all that a report says another item is kept for; return it with what was removed.

    An item that was changed since, or whose kept item was changed or removed, stays.
    """
    told = [
        one
        for group in report.groups
        for one in (group.kept, *(duplicate.item for duplicate in group.duplicates))
    ]
    if not told:
        return report
    with store.write() as tx:
        found = {one.id: GroupedItem.of(one) for one in tx.items(ids=[one.id for one in told])}
        unchanged = {one.id for one in told if found.get(one.id) == one}
        removed = tx.remove_items(
            [
                duplicate.item.id
                for group in report.groups
                if group.kept.id in unchanged
                for duplicate in group.duplicates
                if duplicate.item.id in unchanged
            ]
        )
    return replace(report, removed=removed)


def _pools(gallery: GalleryVectors, within: str) -> Iterator[NDArray[np.int64]]:
    """Yield the positions of the items to compare with each other, the best first."""
    items = gallery.items
    unlabelled = gallery.identities < 0
    pool = np.where(unlabelled | (within == "any"), -1, gallery.identities)
    pixels = np.array([item.width * item.height for item in items], dtype=np.int64)
    sizes = np.array([item.file_size for item in items], dtype=np.int64)
    order = np.lexsort((gallery.ids, -sizes, -pixels, unlabelled, pool))
    if len(order):
        yield from np.split(order, np.flatnonzero(np.diff(pool[order])) + 1)


def _compare(
    gallery: GalleryVectors,
    contents: NDArray[np.int64],
    pool: NDArray[np.int64],
    below: float,
    found: dict[int, list[NearDuplicate]],
) -> Iterator[int]:
    """Add the near-duplicates among some items, best first, to what was found for each kept one.

    Yields how many of them are compared so far.
    """
    gatherer = KeptGatherer(contents[pool], below=below)
    for rows, others, distances in distance_blocks(gallery.vectors[pool], len(pool)):
        gatherer.take(rows, others, distances)
        if others.stop == len(pool):
            yield rows.stop
    result = gatherer.kept_for()
    for place in np.flatnonzero(result.kept >= 0).tolist():
        duplicate = NearDuplicate(
            GroupedItem.of(gallery.items[pool[place]]),
            float(result.distance[place]),
            bool(result.same_bytes[place]),
        )
        found.setdefault(int(pool[result.kept[place]]), []).append(duplicate)


def _rank(duplicate: NearDuplicate) -> tuple[bool, float, int]:
    return not duplicate.same_bytes, duplicate.distance, duplicate.item.id
