"""How a gallery comes into being, is opened, and is described, wherever it is."""

from __future__ import annotations

import glob
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from db import Store, Threshold, Writer, require_local
from retrieval.calibration import outgrown
from retrieval.encoder_folders import ENCODER, load_artifact, put_first
from retrieval.encoders import Artifact, open_encoder
from retrieval.encoders.artifact import OPENVINO_MODELS
from retrieval.errors import GalleryError
from retrieval.first_threshold import travelling_threshold
from retrieval.home import Home
from retrieval.index_choice import IndexInfo, describe_index
from retrieval.kept_photos import follow_kept
from retrieval.paths import AnyPath
from retrieval.place import Place, home_of_shared, homes
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
        path: Its folder, or its database's URL.
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
        size: Bytes on disk; of one in a database, there and of the files kept on this machine.
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


def create_gallery(
    place: Place,
    *,
    encoder: str,
    weights: Path | None,
    precision: str,
    device: str,
    photos: Sequence[AnyPath] = (),
) -> None:
    """Make an empty gallery, in one step: a crash leaves no half gallery.

    Args:
        place: Where: a folder that is missing or empty, or an empty database.
        encoder: See `Gallery.create`, as the next three.
        weights: A local checkpoint for a timm model.
        precision: The arithmetic of the encoder.
        device: Where the encoder will run first.
        photos: What int8 arithmetic is fitted to.

    Raises:
        GalleryError: Something is in the way.
        EncoderError: The encoder can't be had, or can't compute as asked.
        StoreError: The place is on a network file system, or the database can't be used.
    """

    def make_encoder(folder: Path) -> Artifact:
        from retrieval.encoders.factory import make_artifact
        from retrieval.encoders.quantising import quantise

        artifact = make_artifact(encoder, folder, weights=weights)
        if precision == "int8" and not artifact.has(OPENVINO_MODELS["int8"]):
            artifact = quantise(artifact, photos)
        travelling_threshold(artifact.spec)
        open_encoder(artifact, precision=precision, device=device).close()
        return artifact

    settings = {"precision": precision}
    try:
        if place.folder is None:
            _create_shared(place, make_encoder, settings)
        else:
            _create_folder(place.folder, make_encoder, settings)
    except OSError as error:
        raise GalleryError(
            f"{place} can't be made ({error.strerror or error}): choose another place, or make "
            "room there."
        ) from error


def _create_folder(
    folder: Path, make_encoder: Callable[[Path], Artifact], settings: dict[str, str]
) -> None:
    require_local(folder)  # before an encoder is made for nothing
    if not is_free(Place(folder)):
        raise GalleryError(f"{folder} exists and is not empty: choose another place.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with being_made(folder) as new:
        spec = make_encoder(new / ENCODER).spec
        Store.create(
            new / STORE,
            fingerprint=spec.fingerprint,
            encoder_name=spec.name,
            dim=spec.dim,
            settings=settings,
        ).close()
        (new / INDEX).mkdir()
        put_in_place(new, folder)


def _create_shared(
    place: Place, make_encoder: Callable[[Path], Artifact], settings: dict[str, str]
) -> None:
    assert place.url is not None  # noqa: S101 - it is shared
    with tempfile.TemporaryDirectory(prefix=".being-made-", dir=homes()) as made:
        artifact = make_encoder(Path(made) / ENCODER)

        def put_encoder(tx: Writer) -> None:
            put_first(Home(home_of_shared(tx.uid), str(place), is_shared=True), artifact, tx)

        Store.create(
            place.url,
            fingerprint=artifact.spec.fingerprint,
            encoder_name=artifact.spec.name,
            dim=artifact.spec.dim,
            settings=settings,
            prepare=put_encoder,
        ).close()


@contextmanager
def being_made(folder: Path) -> Iterator[Path]:
    """Lend a place beside a folder where it can be made, and clear what crashes left there."""
    prefix = f".{folder.name}.being-made-"
    for left in folder.parent.glob(f"{glob.escape(prefix)}*"):
        with suppress(FileNotFoundError):  # its maker has just put it in place
            if left.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as made:
        yield Path(made) / "gallery"


def put_in_place(new: Path, folder: Path) -> None:
    """Give a gallery that was made beside its folder the folder's name, in one step.

    Raises:
        GalleryError: Something came in the way.
    """
    try:
        new.replace(folder)
    except OSError as error:
        raise GalleryError(
            f"{folder} can't be put in its place ({error.strerror}): if another process has "
            "just made it, open it."
        ) from error


def open_gallery(place: Place) -> tuple[Store, Home, Artifact]:
    """Open a gallery's store, and read its encoder's description.

    Raises:
        GalleryError: There is no gallery, or its parts don't belong together.
        StoreError: Its store is damaged, newer than this lookalike, on a network file system, or
            can't be reached.
        EncoderError: Its encoder is missing or damaged.
    """
    folder = place.folder
    if folder is not None and not (folder / STORE).is_file():
        what = "is no gallery" if folder.exists() else "does not exist"
        raise GalleryError(
            f"{folder} {what}: name a gallery's folder, or make one with "
            f"`lookalike build-index PHOTOS -g {folder}`."
        )
    store = Store.open(store_place(place))
    try:
        home = find_home(place, store)
        follow_kept(store, home)
        return store, home, load_artifact(home, store)
    except BaseException:
        store.close()
        raise


def store_place(place: Place) -> Path | str:
    """Return where the store of a gallery is."""
    return place.folder / STORE if place.folder is not None else place.url or ""


def find_home(place: Place, store: Store) -> Home:
    """Return where the files of a gallery are on this machine."""
    if place.folder is not None:
        return Home(place.folder, str(place))
    with store.read() as tx:
        return Home(home_of_shared(tx.uid), str(place), is_shared=True)


def home_of(place: Place) -> Path:
    """Return the folder of a gallery's files on this machine, without opening its encoder.

    Raises:
        StoreError: It is in a database that can't be reached, or holds none.
    """
    if place.folder is not None:
        return place.folder
    store = Store.open(place.url or "")
    try:
        return find_home(place, store).path
    finally:
        store.close()


def is_free(place: Place) -> bool:
    """Whether there is no gallery yet where one could be made.

    Raises:
        StoreError: The database can't be reached.
    """
    if place.folder is None:
        return Store.is_free(place.url or "")
    folder = place.folder
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


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


def describe(home: Home, store: Store) -> GalleryInfo:
    """Say what a gallery is."""
    problem = None
    try:
        with store.read() as tx:
            home.get(tx, VERIFIER)
            verifier = load_verifier(home.path / VERIFIER, tx.encoder.fingerprint)
    except GalleryError as error:
        verifier, problem = None, str(error)
    with store.read() as tx:
        counts = tx.label_counts()
        items = tx.count_items()
        threshold = tx.threshold()
        return GalleryInfo(
            path=home.name,
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
            index=describe_index(tx, is_shared=home.is_shared),
            verifier=None if verifier is None else verifier.trained,
            verifier_problem=problem,
            seq=tx.seq,
            size=_size(home.path) + (tx.size() if home.is_shared else 0),
        )


def _size(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        # What others are changing may be gone by now.
        with suppress(FileNotFoundError):
            found = path.stat()
            size += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return size
