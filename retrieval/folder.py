"""A gallery's folder: how it comes into being, is opened, and is described."""

from __future__ import annotations

import glob
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from db import Store, Threshold, require_local
from retrieval.calibration import outgrown
from retrieval.encoder_folders import ENCODER, load_artifact
from retrieval.encoders import Artifact, open_encoder
from retrieval.encoders.artifact import OPENVINO_MODELS
from retrieval.errors import GalleryError
from retrieval.first_threshold import travelling_threshold
from retrieval.generations import IndexInfo, describe_index
from retrieval.kept_photos import follow_kept
from retrieval.paths import AnyPath
from retrieval.verifying.model import TrainedVerifier
from retrieval.verifying.storing import FOLDER as VERIFIER
from retrieval.verifying.storing import load_verifier

STORE, INDEX = "gallery.db", "index"
# A folder that has been "being made" for so long was left by a process that was killed.
_ABANDONED_SECONDS = 3600


@dataclass(frozen=True)
class GalleryInfo:
    """What a gallery is.

    Attributes:
        path: Its folder.
        items: How many items it has.
        labels: How many different labels they have.
        unlabelled: How many items have no label, each an identity of its own.
        failures: How many files could not become items.
        encoder: The encoder's name.
        fingerprint: The encoder's fingerprint.
        dim: Length of its vectors.
        precision: The arithmetic asked for; `auto` is the fastest the CPU computes natively.
        threshold: The threshold in force, with where it came from.
        outgrown: Whether the gallery has grown or shrunk by more than a tenth since it was tuned.
        index: The kind of its index, and how fresh it is.
        verifier: The pair classifier with how it was learnt; `None` without one that can be used.
        verifier_problem: Why the verifier that is there can't be used.
        seq: How many writes there have been.
        size: Bytes on disk.
    """

    path: str
    items: int
    labels: int
    unlabelled: int
    failures: int
    encoder: str
    fingerprint: str
    dim: int
    precision: str
    threshold: Threshold | None
    outgrown: bool
    index: IndexInfo
    verifier: TrainedVerifier | None
    verifier_problem: str | None
    seq: int
    size: int


def create_folder(
    folder: Path,
    *,
    encoder: str,
    weights: Path | None,
    precision: str,
    device: str,
    photos: Sequence[AnyPath] = (),
) -> None:
    """Make the folder of an empty gallery, in one step: a crash leaves no half gallery.

    Args:
        folder: Its place.
        encoder: See `Gallery.create`, as the next three.
        weights: A local checkpoint for a timm model.
        precision: The arithmetic of the encoder.
        device: Where the encoder will run first.
        photos: What int8 arithmetic is fitted to.

    Raises:
        GalleryError: Something is in the way.
        EncoderError: The encoder can't be had, or can't compute as asked.
        StoreError: The place is on a network file system.
    """
    from retrieval.encoders.factory import make_artifact
    from retrieval.encoders.quantising import quantise

    require_local(folder)  # before an encoder is made for nothing
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise GalleryError(f"{folder} exists and is not empty: choose another place.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _being_made(folder) as new:
            artifact = make_artifact(encoder, new / ENCODER, weights=weights)
            if precision == "int8" and not artifact.has(OPENVINO_MODELS["int8"]):
                artifact = quantise(artifact, photos)
            travelling_threshold(artifact.spec)
            open_encoder(artifact, precision=precision, device=device).close()
            Store.create(
                new / STORE,
                fingerprint=artifact.spec.fingerprint,
                encoder_name=artifact.spec.name,
                dim=artifact.spec.dim,
                settings={"precision": precision},
            ).close()
            (new / INDEX).mkdir()
            _put_in_place(new, folder)
    except OSError as error:
        raise GalleryError(
            f"{folder} can't be made ({error.strerror or error}): choose another place, or make "
            "room there."
        ) from error


@contextmanager
def _being_made(folder: Path) -> Iterator[Path]:
    """Lend a place beside a folder where it can be made, and clear what crashes left there."""
    prefix = f".{folder.name}.being-made-"
    for left in folder.parent.glob(f"{glob.escape(prefix)}*"):
        with suppress(FileNotFoundError):  # its maker has just put it in place
            if left.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as made:
        yield Path(made) / "gallery"


def _put_in_place(new: Path, folder: Path) -> None:
    try:
        new.replace(folder)
    except OSError as error:
        raise GalleryError(
            f"{folder} can't be put in its place ({error.strerror}): if another process has "
            "just made it, open it."
        ) from error


def open_folder(folder: Path) -> tuple[Store, Artifact]:
    """Open a gallery's store and read its encoder's description.

    Raises:
        GalleryError: There is no gallery, or its parts don't belong together.
        StoreError: Its store is damaged, newer than this lookalike, or on a network file system.
        EncoderError: Its encoder is missing or damaged.
    """
    if not (folder / STORE).is_file():
        what = "is no gallery" if folder.exists() else "does not exist"
        raise GalleryError(
            f"{folder} {what}: name a gallery's folder, or make one with "
            f"`lookalike build-index PHOTOS -g {folder}`."
        )
    store = Store.open(folder / STORE)
    try:
        follow_kept(store, folder)
        return store, load_artifact(folder, store)
    except BaseException:
        store.close()
        raise


def is_encoder(mine: Artifact, encoder: str, weights: Path | None) -> bool:
    """Whether `--encoder` and `--weights` name the encoder of an existing gallery."""
    from retrieval.encoders.networks import is_network

    if not is_network(encoder) and Path(encoder).is_dir():
        return Artifact.load(Path(encoder)).spec.fingerprint == mine.spec.fingerprint
    if weights is None:
        return encoder == mine.spec.name
    from retrieval.encoders.factory import make_artifact

    with tempfile.TemporaryDirectory() as made:
        other = make_artifact(encoder, Path(made) / ENCODER, weights=weights)
    return other.spec.fingerprint == mine.spec.fingerprint


def describe(folder: Path, store: Store) -> GalleryInfo:
    """Say what a gallery is."""
    problem = None
    try:
        with store.read() as tx:
            verifier = load_verifier(folder / VERIFIER, tx.encoder.fingerprint)
    except GalleryError as error:
        verifier, problem = None, str(error)
    with store.read() as tx:
        counts = tx.label_counts()
        items = tx.count_items()
        threshold = tx.threshold()
        return GalleryInfo(
            path=str(folder),
            items=items,
            labels=len(counts),
            unlabelled=items - sum(counts.values()),
            failures=len(tx.failures()),
            encoder=tx.encoder.name,
            fingerprint=tx.encoder.fingerprint,
            dim=tx.encoder.dim,
            precision=tx.settings()["precision"],
            threshold=threshold,
            outgrown=threshold is not None and outgrown(threshold, items),
            index=describe_index(tx),
            verifier=None if verifier is None else verifier.trained,
            verifier_problem=problem,
            seq=tx.seq,
            size=_size(folder),
        )


def _size(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        # What others are changing may be gone by now.
        with suppress(FileNotFoundError):
            found = path.stat()
            size += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return size
