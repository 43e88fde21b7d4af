"""Proving that a gallery's store, files and index agree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from db import Reader, Store, StoreError
from indexes import IndexFileError, load
from retrieval.belonging import require_encoder
from retrieval.encoder_folders import coming_encoder, leftovers
from retrieval.encoders import Artifact
from retrieval.errors import GalleryError
from retrieval.folder import INDEX
from retrieval.home import Home
from retrieval.index_choice import check_engine
from retrieval.paths import missing
from retrieval.remote import RemoteError
from retrieval.verifying.storing import FOLDER as VERIFIER
from retrieval.verifying.storing import load_verifier

_STORED = {False: "gallery.db", True: "the database"}
# float16 keeps a unit vector's length to about one part in ten thousand.
_LENGTH_TOLERANCE = 1e-3


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes:
        problems: One sentence each: what is wrong, and how to mend it. Empty when all is well.
        notes: What is worth knowing but harms no answer.
        items: How many items were looked at.
        vectors: How many vectors were looked at.
        generations: How many index files were looked at.
    """

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    items: int
    vectors: int
    generations: int

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def check(store: Store, artifact: Artifact, home: Home) -> CheckReport:
    """Look at every item, vector, encoder file, index and verifier of a gallery.

    Raises:
        EncoderChanged: The gallery does not belong to this encoder any more.
    """
    problems, notes = artifact.damage(), list[str]()
    try:
        load_verifier(home.path / VERIFIER, artifact.spec.fingerprint)
    except GalleryError as error:
        problems.append(str(error))
    try:
        problems += [
            f"The store is damaged ({text}): restore {_STORED[store.is_shared]} from a backup."
            for text in store.damage()
        ]
        with store.read() as tx:
            require_encoder(tx, artifact.spec.fingerprint)
            items = {item.id: item.path for item in tx.items()}
            vectors = _check_vectors(tx, set(items), problems)
            if store.is_shared:
                generations = 0
                check_engine(store, tx, problems, notes)
            else:
                generations = _check_generations(tx, home.path / INDEX, problems, notes)
            _note_other_encoders(tx, home, len(items), notes)
    except StoreError as error:
        return CheckReport((*problems, str(error)), tuple(notes), 0, 0, 0)
    try:
        if gone := len(missing(items.values())):
            notes.append(
                f"{gone} of {len(items)} items' photos are not at their path any more; answers "
                "don't need them."
            )
    except RemoteError as error:
        notes.append(f"{error.filename}: {error.strerror}; answers don't need the photos.")
    return CheckReport(tuple(problems), tuple(notes), len(items), vectors, generations)


def _check_vectors(tx: Reader, item_ids: set[int], problems: list[str]) -> int:
    seen: set[int] = set()
    count = 0
    for part in tx.vectors():
        count += len(part.ids)
        lengths = np.linalg.norm(part.data.astype(np.float64), axis=1)
        # Written so that NaN counts as wrong.
        wrong = ~(np.abs(lengths - 1) < _LENGTH_TOLERANCE)
        problems += [
            f"The vector of item {item_id} is no unit vector: remove the item and add it again."
            for item_id in part.item_ids[wrong].tolist()
        ]
        for item_id in part.item_ids.tolist():
            if item_id not in item_ids:
                problems.append(
                    f"There is a vector for item {item_id}, which does not exist: restore the "
                    "store from a backup."
                )
            elif item_id in seen:
                problems.append(f"Item {item_id} has two vectors: remove it and add it again.")
            seen.add(item_id)
    problems += [
        f"Item {item_id} has no vector: remove it and add it again."
        for item_id in sorted(item_ids - seen)
    ]
    return count


def _note_other_encoders(tx: Reader, home: Home, items: int, notes: list[str]) -> None:
    notes += [
        f"{path} is left from another encoder and not needed any more: delete it at will."
        for path in leftovers(home, tx)
    ]
    coming = coming_encoder(tx)
    if coming is not None:
        done = items - sum(1 for _ in tx.seen_through(coming).items_without_vector())
        notes.append(
            f"A reembed to {coming.name} was begun, {done} of {items} items have their vector: the "
            f"same command goes on, and `lookalike reembed -g {home.name} --encoder current` drops "
            "it."
        )


def _check_generations(
    tx: Reader, index_folder: Path, problems: list[str], notes: list[str]
) -> int:
    generations = tx.generations()
    for generation in generations:
        path = index_folder / generation.file_name
        try:
            index = load(path, kind=generation.kind, sha256=generation.sha256)
        except IndexFileError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                notes.append(
                    f"{path} is gone; answers are right without it, and build-index makes another."
                )
                continue
            problems.append(
                f"{error}; answers are right without it: delete it, build-index makes another."
            )
            continue
        if len(index) != generation.count:
            problems.append(
                f"{path} holds {len(index)} vectors instead of {generation.count}: delete it, "
                "build-index makes another."
            )
    return len(generations)
