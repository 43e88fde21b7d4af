"""What an encoder is trained on: labelled photos, and which of them are kept back to judge it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.embedding import FailedPhoto, read_file
from retrieval.errors import ImageError, LabelsError, LookalikeError
from retrieval.evaluation.inputs import GROUP, SPLIT
from retrieval.images import decode
from retrieval.paths import AnyPath
from retrieval.sources import Label, find_photos, labels_from_folders, read_labels

# What the column `split` may say; rows that say anything else are left alone.
TRAIN, VALIDATION = "train", "val"
_FEWEST_LABELS = 2
# With one more than the 19 labels that it takes to promise an FPIR of 5 %: evaluation.conformal.
_STRANGER_LABELS = 20


@dataclass(frozen=True, eq=False)
class TrainingPhotos:
    """Photos with their labels.

    Attributes:
        paths: The files, n, in the order in which they were found or listed.
        labels: The different labels, sorted.
        codes: int64, shape `(n,)`, each photo's label as a place in `labels`.
        groups: n texts: photos of one capture session share one; `None` where nothing is known.
        validation: bool, shape `(n,)`: photos that a CSV keeps for judging.
        unlabelled: How many photos were left out for having no label.
    """

    paths: tuple[AnyPath, ...]
    labels: tuple[str, ...]
    codes: NDArray[np.int64]
    groups: tuple[str | None, ...]
    validation: NDArray[np.bool_]
    unlabelled: int = 0

    def __len__(self) -> int:
        return len(self.paths)

    def only(self, chosen: Sequence[int] | NDArray[np.int64]) -> TrainingPhotos:
        """Return some of the photos; labels that none of them shows are gone."""
        codes = self.codes[np.asarray(chosen, dtype=np.int64)]
        kept, renumbered = np.unique(codes, return_inverse=True)
        return TrainingPhotos(
            tuple(self.paths[place] for place in chosen),
            tuple(self.labels[code] for code in kept),
            renumbered.astype(np.int64),
            tuple(self.groups[place] for place in chosen),
            self.validation[np.asarray(chosen, dtype=np.int64)],
            self.unlabelled,
        )


@dataclass(frozen=True, eq=False)
class Division:
    """Which photos train, and which judge; places in `TrainingPhotos`.

    Attributes:
        train: int64: photos that are learnt from; they are the gallery when judging.
        known: int64: other photos of the labels that are learnt.
        strangers: int64: all photos of the labels that are not.
    """

    train: NDArray[np.int64]
    known: NDArray[np.int64]
    strangers: NDArray[np.int64]


def read_photos(data: AnyPath) -> TrainingPhotos:
    """List what to train on.

    Args:
        data: A folder, whose photos' labels are their parent folders' names; or a CSV
            `path,label[,split][,group]`, of which the rows whose `split` is `train` (or all, where
            there is no such column) train and those with `val` judge.

    Raises:
        LookalikeError: It can't be read, or there are fewer than two labels to tell apart.
    """
    if data.is_dir():
        label_of = labels_from_folders(data)
        said = {path: label_of(path) for path in find_photos(data)}
    else:
        said = _wanted(read_labels(data, must_exist=True), data)
        _require_whole_groups(said, data)
    labelled = {path: label for path, label in said.items() if label.label is not None}
    names = sorted({str(label.label) for label in labelled.values()})
    codes = {name: code for code, name in enumerate(names)}
    photos = TrainingPhotos(
        tuple(labelled),
        tuple(names),
        np.array([codes[str(label.label)] for label in labelled.values()], dtype=np.int64),
        tuple(label.metadata.get(GROUP) or None for label in labelled.values()),
        np.array(
            [label.metadata.get(SPLIT) == VALIDATION for label in labelled.values()], dtype=bool
        ),
        len(said) - len(labelled),
    )
    shown = _labels_to_learn(photos)
    if shown < _FEWEST_LABELS:
        raise LookalikeError(
            f"{data} shows {shown} labels to train on, and it takes {_FEWEST_LABELS} to learn what "
            "tells them apart: put photos into a folder for each label, or name a CSV path,label."
        )
    return photos


def inspect(photos: TrainingPhotos) -> tuple[TrainingPhotos, list[FailedPhoto], str]:
    """Look at every photo before work begins, and leave out those that can't be read.

    Returns:
        The photos that can be read, the others with the reason, and a SHA-256, in hex, over the
        bytes of the former and what is said of them.

    Raises:
        LookalikeError: Fewer than two labels are left.
    """
    failed = []
    kept = []
    digest = hashlib.sha256()
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="look") as pool:
        for place, outcome in enumerate(pool.map(_look, photos.paths)):
            if isinstance(outcome, FailedPhoto):
                failed.append(outcome)
                continue
            kept.append(place)
            said = (photos.labels[photos.codes[place]], photos.groups[place])
            digest.update(f"{outcome} {said} {photos.validation[place]}\n".encode())
    left = photos.only(kept)
    if _labels_to_learn(left) < _FEWEST_LABELS:
        raise LookalikeError(
            f"Only {len(kept)} of {len(photos)} photos can be read ({failed[0].path}: "
            f"{failed[0].reason}), too few to train on: mend them."
        )
    return left, failed, digest.hexdigest()


def _labels_to_learn(photos: TrainingPhotos) -> int:
    return len(np.unique(photos.codes[~photos.validation]))


def _look(path: AnyPath) -> str | FailedPhoto:
    """Return the SHA-256 of a photo's bytes, or why it can't be used."""
    try:
        data, _ = read_file(path)
        decode(data, min_side=1)
    except ImageError as error:
        return FailedPhoto(str(path), str(error))
    return hashlib.sha256(data).hexdigest()


def divide(photos: TrainingPhotos, *, seed: int, share: float = 0.2) -> Division:
    """Keep photos back to judge by: other visits to known labels, and whole labels as strangers.

    Photos of one visit resemble each other, so of each label the last ones by name are kept back
    together, and no group, where groups are known, is in both `train` and `known`.

    Args:
        photos: All photos. Where some are marked for validation, those are kept back, and no
            others but whole labels' photos.
        seed: Draws which labels are strangers.
        share: The share of labels, and of each other label's photos, to keep back. Twenty labels
            are, where that is more and a third of all at most: so many it takes to promise an FPIR.
    """
    labels = len(photos.labels)
    wanted = round(share * labels)
    if wanted < _STRANGER_LABELS <= labels / 3:
        wanted = _STRANGER_LABELS
    # Labels that only the validation photos show are strangers already.
    trained = np.unique(photos.codes[~photos.validation])
    drawn = np.random.default_rng([seed, labels]).permutation(trained)
    strange = np.ones(labels, dtype=bool)
    strange[drawn[max(0, wanted - (labels - len(trained))) :]] = False
    stranger = strange[photos.codes]
    back = photos.validation.copy()
    if not back.any():
        back[_last(photos, np.flatnonzero(~stranger), share)] = True
    return Division(
        np.flatnonzero(~stranger & ~back),
        np.flatnonzero(~stranger & back),
        np.flatnonzero(stranger),
    )


def _last(photos: TrainingPhotos, places: NDArray[np.int64], share: float) -> list[int]:
    """Choose the last groups by name that make up a share of each label's photos, but never all."""
    sizes = np.bincount(photos.codes[places], minlength=len(photos.labels)).tolist()
    # A photo without a group is one of its own.
    groups: dict[object, list[int]] = {}
    for place in sorted(places.tolist(), key=lambda place: str(photos.paths[place]), reverse=True):
        groups.setdefault(photos.groups[place] or place, []).append(place)
    given = [0] * len(sizes)
    chosen: list[int] = []
    for group in groups.values():
        shown = Counter(photos.codes[group].tolist())
        due = any(given[code] < round(share * sizes[code]) for code in shown)
        spare = all(given[code] + count < sizes[code] for code, count in shown.items())
        if due and spare:
            chosen += group
            for code, count in shown.items():
                given[code] += count
    return chosen


def _wanted(said: dict[AnyPath, Label], file: AnyPath) -> dict[AnyPath, Label]:
    """Leave out the rows of a CSV that belong to no split of ours."""
    if not any(SPLIT in label.metadata for label in said.values()):
        return said
    wanted = {
        path: label for path, label in said.items() if label.metadata[SPLIT] in (TRAIN, VALIDATION)
    }
    if not any(label.metadata[SPLIT] == TRAIN for label in wanted.values()):
        raise LabelsError(
            f"{file}, column {SPLIT}: no row says {TRAIN!r}: say which photos to train on."
        )
    return wanted


def _require_whole_groups(said: dict[AnyPath, Label], file: AnyPath) -> None:
    split_of: dict[str, str] = {}
    for label in said.values():
        group, split = label.metadata.get(GROUP), label.metadata.get(SPLIT)
        if group and split and split_of.setdefault(group, split) != split:
            raise LabelsError(
                f"{file}, column {GROUP}: {group!r} is in both {TRAIN} and {VALIDATION}, and "
                "photos of one group resemble each other: put all of it into one split."
            )
