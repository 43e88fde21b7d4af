"""Lists of pairs: CSV files `path_a,path_b,label`, read and drawn."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from db import Reader, Store
from retrieval.errors import LabelsError
from retrieval.evaluation.inputs import read_queries
from retrieval.evaluation.pair_lists import PairList, draw_pairs
from retrieval.lists import named, require_free, write_rows
from retrieval.paths import AnyPath, any_path, missing, within
from retrieval.remote import RemotePath
from retrieval.sources import absolute, csv_rows

COLUMNS = ("path_a", "path_b", "label")
_SAME = {"1": True, "same": True, "true": True, "0": False, "different": False, "false": False}


@dataclass(frozen=True, eq=False)
class ListedPairs:
    """What a CSV of pairs says.

    Attributes:
        photos: The different photos, absolute, in the order in which they are named.
        first: int64, shape `(n,)`, place of each pair's first photo.
        second: int64, shape `(n,)`, place of its second.
        same: bool, shape `(n,)`, whether both are said to show the same.
    """

    photos: tuple[AnyPath, ...]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]


@dataclass(frozen=True)
class DrawnPairs:
    """A list of pairs that was drawn and written.

    Attributes:
        path: The CSV.
        pairs: How many pairs it holds.
        n_positive: How many show the same label.
        n_negative: How many don't.
        hard: How many were drawn for being hard.
        photos: How many different photos they are made of.
        labels: How many labels those show.
    """

    path: str
    pairs: int
    n_positive: int
    n_negative: int
    hard: int
    photos: int
    labels: int


@dataclass(frozen=True, eq=False)
class DistinctItems:
    """A gallery's labelled items that pairs are drawn from.

    Attributes:
        ids: Their numbers, n.
        paths: Where they were read, n.
        identities: int64, shape `(n,)`: equal numbers show the same label.
    """

    ids: list[int]
    paths: list[str]
    identities: NDArray[np.int64]

    def at(self, places: NDArray[np.int64]) -> DistinctItems:
        """Return those at some places, int64 `(m,)`."""
        some = places.tolist()
        return DistinctItems(
            [self.ids[one] for one in some],
            [self.paths[one] for one in some],
            self.identities[places],
        )

    def vectors(self, tx: Reader) -> NDArray[np.float16]:
        """Read their vectors: float16, shape `(n, dim)`."""
        row_of = {item_id: row for row, item_id in enumerate(self.ids)}
        vectors = np.empty((len(row_of), tx.encoder.dim), dtype=np.float16)
        for part in tx.vectors():
            rows = np.array([row_of.get(one, -1) for one in part.item_ids.tolist()])
            vectors[rows[rows >= 0]] = part.data[rows >= 0]
        return vectors


def read_pairs(file: AnyPath) -> ListedPairs:
    """Read a CSV with the columns `path_a`, `path_b` and `label`; others are ignored.

    Args:
        file: UTF-8 CSV with a header. Its paths are absolute, or relative to the CSV's own folder.
            A label is 1, same or true, or else 0, different or false, in any case. A pair may come
            several times, and then counts as often.

    Raises:
        LabelsError: A column is missing, a row doesn't fit, a photo isn't there, two rows
            contradict each other, or there is no row; the text names row and column.
    """
    places: dict[AnyPath, int] = {}
    rows: list[tuple[int, int, bool]] = []
    said: dict[tuple[int, int], tuple[int, bool]] = {}
    named_at: dict[str, tuple[int, str]] = {}
    for row, values in csv_rows(file, required=COLUMNS):
        pair = []
        for column in COLUMNS[:2]:
            path = within(file.parent, values[column])
            if values[column] and isinstance(path, RemotePath):
                named_at.setdefault(str(path), (row, column))
            # os.path, as it takes a name no file can have for a file that is not there.
            elif not values[column] or not os.path.isfile(path):  # noqa: PTH113
                what = f"there is no file {path}" if values[column] else "is empty"
                raise LabelsError(f"{file}, row {row}, column {column}: {what}.")
            pair.append(places.setdefault(absolute(path), len(places)))
        same = _SAME.get(values["label"].strip().casefold())
        if same is None:
            raise LabelsError(
                f"{file}, row {row}, column label: {values['label']!r} is neither 1 (or same, "
                "true) nor 0 (or different, false)."
            )
        first, second = pair
        before, told = said.setdefault((min(pair), max(pair)), (row, same))
        if told != same:
            raise LabelsError(
                f"{file}, row {row}, column label: contradicts row {before} on the same two photos."
            )
        rows.append((first, second, same))
    # Asked at the end, as many objects can be asked for together.
    if gone := missing(named_at):
        first_gone = min(gone, key=named_at.__getitem__)
        row, column = named_at[first_gone]
        raise LabelsError(f"{file}, row {row}, column {column}: there is no object {first_gone}.")
    if not rows:
        raise LabelsError(f"{file} holds no pairs: give it rows {','.join(COLUMNS)}.")
    table = np.array(rows, dtype=np.int64)
    return ListedPairs(tuple(places), table[:, 0], table[:, 1], table[:, 2].astype(bool))


def make_pairs(
    photos: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    count: int = 7000,
    seed: int = 0,
    overwrite: bool = False,
) -> DrawnPairs:
    """Draw pairs from labelled photos, half of them of the same label, and write them to a CSV.

    Photos without a label are left out. For hard pairs see `Gallery.make_pairs`.

    Args:
        photos: A folder (labels are the parent folders' names) or a CSV `path,label`.
        out: The CSV to write, `path_a,path_b,label`. Photos below its folder are named relative
            to it, others absolutely.
        count: How many pairs, an even number.
        seed: Equal seeds draw equal lists from equal photos.
        overwrite: Replace `out` where it exists.

    Raises:
        LookalikeError: The photos can't be listed, there are too few, or `out` can't be written.
    """
    require_free(Path(out), overwrite=overwrite)
    labelled = [
        (str(source.path), source.label.label)
        for source in read_queries(any_path(photos)).sources
        if source.label is not None and source.label.label is not None
    ]
    identities = _coded([label for _, label in labelled])
    drawn = draw_pairs(identities, count, seed=seed)
    return _write(Path(out), [path for path, _ in labelled], identities, drawn)


def make_pairs_of_items(
    store: Store, out: Path, *, count: int, hard: float, seed: int, overwrite: bool
) -> DrawnPairs:
    """Draw pairs from a gallery's own items; see `Gallery.make_pairs`."""
    require_free(out, overwrite=overwrite)
    with store.read() as tx:
        items = distinct_items(tx)
        vectors = items.vectors(tx) if hard else None
    drawn = draw_pairs(items.identities, count, seed=seed, vectors=vectors, hard=hard)
    return _write(out, items.paths, items.identities, drawn)


def distinct_items(tx: Reader) -> DistinctItems:
    """List a gallery's labelled items, of those with the same bytes only the first."""
    # A photo and its copy tell nothing.
    first: dict[str, tuple[int, str, str]] = {}
    for item in tx.items():
        if item.label is not None:
            first.setdefault(item.content_hash, (item.id, item.path, item.label))
    return DistinctItems(
        ids=[item_id for item_id, _, _ in first.values()],
        paths=[path for _, path, _ in first.values()],
        identities=_coded([label for _, _, label in first.values()]),
    )


def _coded(labels: Sequence[str]) -> NDArray[np.int64]:
    """Number the labels in order of appearance."""
    codes: dict[str, int] = {}
    return np.array([codes.setdefault(label, len(codes)) for label in labels], dtype=np.int64)


def _write(
    out: Path, paths: Sequence[str], identities: NDArray[np.int64], drawn: PairList
) -> DrawnPairs:
    used = np.union1d(drawn.first, drawn.second)
    folder = out.parent.resolve()
    names = {place: named(paths[place], folder) for place in used.tolist()}
    rows = (
        (names[first], names[second], int(same))
        for first, second, same in zip(
            drawn.first.tolist(), drawn.second.tolist(), drawn.same.tolist(), strict=True
        )
    )
    write_rows(out, COLUMNS, rows)
    return DrawnPairs(
        path=str(out),
        pairs=len(drawn.same),
        n_positive=int(drawn.same.sum()),
        n_negative=int((~drawn.same).sum()),
        hard=int(drawn.hard.sum()),
        photos=len(used),
        labels=len(np.unique(identities[used])),
    )
