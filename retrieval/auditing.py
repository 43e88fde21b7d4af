"""Auditing a gallery by its own vectors: what is likely mislabelled, what is there twice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from db import Store
from retrieval.building import Progress
from retrieval.errors import GalleryError
from retrieval.evaluation.distances import GalleryVectors, distance_blocks, gallery_vectors
from retrieval.evaluation.duplicates import DuplicateGatherer, DuplicatePairs
from retrieval.evaluation.mislabelled import NEIGHBOURS, SUSPICIOUS, Suspicion, suspicion
from retrieval.evaluation.neighbourhoods import NeighbourGatherer, Neighbourhoods


@dataclass(frozen=True)
class AuditedItem:
    """An item that an audit speaks of.

    Attributes:
        id: Its number.
        label: The identity it is said to show; `None` for none.
        path: Where its image was read.
        content_hash: SHA-256 of the file's bytes then, in hex.
    """

    id: int
    label: str | None
    path: str
    content_hash: str


@dataclass(frozen=True)
class Suspect:
    """An item that is likely mislabelled.

    Attributes:
        item: The item.
        suggested_label: The label that most of its nearest items carry beside its own.
        score: How suspicious it is, in [−1.25, 1.25]; see `retrieval.evaluation.mislabelled`.
        votes: How many of its nearest items carry the label suggested.
        voters: How many nearest items were asked.
        mate: The nearest item of its own label.
        mate_distance: How far that is.
        other: The nearest item of the label suggested.
        other_distance: How far that is.
    """

    item: AuditedItem
    suggested_label: str
    score: float
    votes: int
    voters: int
    mate: AuditedItem
    mate_distance: float
    other: AuditedItem
    other_distance: float


@dataclass(frozen=True)
class DuplicatePair:
    """Two items that show the same picture, or nearly, under two labels.

    Attributes:
        first: The labelled one; if both are, the one with the smaller id.
        second: The other; its label may be `None`.
        distance: How far apart they are.
        same_bytes: Whether their files were the same, byte by byte.
    """

    first: AuditedItem
    second: AuditedItem
    distance: float
    same_bytes: bool


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        items: How many items the gallery has.
        labels: How many labels they have.
        judged: How many items could be judged: they have a mate.
        alone: How many items are the only one of their label: nothing tells if it is wrong.
        unlabelled: How many items have no label.
        suspicious_above: The score above which an item is likely mislabelled.
        duplicates_below: The distance below which two items are near-duplicates.
        n_suspects: How many items are likely mislabelled.
        suspects: The worst of them, worst first, equal ones by id.
        n_duplicates: How many pairs of near-duplicates across labels there are.
        duplicates: The worst of them: same bytes first, then by distance, equal ones by id.
    """

    items: int
    labels: int
    judged: int
    alone: int
    unlabelled: int
    suspicious_above: float
    duplicates_below: float
    n_suspects: int
    suspects: tuple[Suspect, ...]
    n_duplicates: int
    duplicates: tuple[DuplicatePair, ...]


def audit(
    store: Store,
    *,
    duplicates_below: float,
    limit: int,
    progress: Progress | None = None,
) -> Audit:
    """Find likely mislabelled items and near-duplicates across labels, by the stored vectors alone.

    Two unlabelled items are no such pair, as no label is wrong; one that shows the same as a
    labelled item is, and can get its label.

    Args:
        store: The gallery's store.
        duplicates_below: The distance, in [0, 2], below which two items are near-duplicates. Files
            that were the same byte by byte always are.
        limit: How many suspects and how many pairs to return, at least 1; all are counted.
        progress: Told how many labelled items of how many are compared.

    Raises:
        GalleryError: `limit` or `duplicates_below` is out of range.
    """
    if limit < 1:
        raise GalleryError(f"limit is {limit}: ask for at least 1.")
    if not 0 <= duplicates_below <= 2:
        raise GalleryError(f"duplicates_below is {duplicates_below}: say a distance from 0 to 2.")
    with store.read() as tx:
        gallery = gallery_vectors(tx)
    labelled_first = np.lexsort((gallery.ids, gallery.identities < 0))
    ids, labels = gallery.ids[labelled_first], gallery.identities[labelled_first]
    near, pairs = _compare(
        gallery, labelled_first, below=duplicates_below, most=limit, progress=progress
    )
    labelled = len(near.mate)
    found = suspicion(near, labels[:labelled])
    suspects = found.suspects()
    worst = suspects[:limit]
    told = [worst, near.mate[worst], found.rival[worst], pairs.first, pairs.second]
    wanted = set(ids[np.concatenate(told)].tolist())
    records = {
        item.id: AuditedItem(item.id, item.label, item.path, item.content_hash)
        for item in gallery.items
        if item.id in wanted
    }
    items = _Items(ids, records)
    judged = int(np.count_nonzero(near.mate >= 0))
    return Audit(
        items=len(ids),
        labels=len(gallery.codes),
        judged=judged,
        alone=labelled - judged,
        unlabelled=len(ids) - labelled,
        suspicious_above=SUSPICIOUS,
        duplicates_below=duplicates_below,
        n_suspects=len(suspects),
        suspects=tuple(_suspects(items, near, found, worst.tolist())),
        n_duplicates=pairs.count,
        duplicates=tuple(_duplicates(items, pairs)),
    )


@dataclass(frozen=True)
class _Items:
    """The items that are told of, by their position among those compared."""

    ids: NDArray[np.int64]
    records: dict[int, AuditedItem]

    def at(self, position: int) -> AuditedItem:
        return self.records[int(self.ids[position])]


def _compare(
    gallery: GalleryVectors,
    order: NDArray[np.int64],
    *,
    below: float,
    most: int,
    progress: Progress | None,
) -> tuple[Neighbourhoods, DuplicatePairs]:
    """Compare each pair of items of which one is labelled, once; positions are those of `order`."""
    vectors, labels = gallery.vectors[order], gallery.identities[order]
    hashes = [item.content_hash for item in gallery.items]
    contents = np.unique(hashes, return_inverse=True)[1][order]
    labelled = int(np.count_nonzero(labels >= 0))
    nearest = NeighbourGatherer(labels[:labelled], NEIGHBOURS)
    duplicates = DuplicateGatherer(labels, contents, below=below, most=most)
    for rows, others, distances in distance_blocks(vectors, labelled):
        duplicates.take(rows, others, distances)
        # Items without a label have no vote.
        voting = slice(others.start, min(others.stop, labelled))
        if voting.start < voting.stop:
            nearest.take(rows, voting, distances[:, : voting.stop - voting.start])
        if progress is not None and others.stop == len(vectors):
            progress(rows.stop, labelled)
    return nearest.neighbourhoods(), duplicates.pairs()


def _suspects(
    items: _Items, near: Neighbourhoods, found: Suspicion, worst: list[int]
) -> Iterable[Suspect]:
    for position in worst:
        other = items.at(int(found.rival[position]))
        if other.label is None:
            raise AssertionError("an item without a label has suggested one")
        yield Suspect(
            item=items.at(position),
            suggested_label=other.label,
            score=float(found.score[position]),
            votes=int(found.votes[position]),
            voters=int(np.count_nonzero(near.nearest[position] >= 0)),
            mate=items.at(int(near.mate[position])),
            mate_distance=float(near.mate_distance[position]),
            other=other,
            other_distance=float(found.rival_distance[position]),
        )


def _duplicates(items: _Items, pairs: DuplicatePairs) -> Iterable[DuplicatePair]:
    for first, second, distance, same_bytes in zip(
        pairs.first.tolist(),
        pairs.second.tolist(),
        pairs.distance.tolist(),
        pairs.same_bytes.tolist(),
        strict=True,
    ):
        yield DuplicatePair(items.at(first), items.at(second), distance, same_bytes)
