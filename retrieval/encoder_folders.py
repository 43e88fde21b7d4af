"""Where the encoders of a gallery lie in its home.

    encoder/                     the encoder the gallery was made with
    encoder-0123456789abcdef/    one it was given later, named by how its fingerprint begins
    .encoder.being-made-*/       one that is being made, or was when a process was killed
    .encoder.going-*/            one that is being deleted, likewise

A gallery in a database keeps their files there, named as here, and each machine has a copy: also
the first one is then named by its fingerprint.

The store says by its fingerprint which one is in force. A folder is whole and flushed to disk
before it gets its name, and keeps that name until nobody needs it. Only under the store's write
lock is one put in its place or taken away, and never the one in force, nor the one that a reembed
under way is to switch to. So whatever the store names is there, at any moment.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from db import Reader, Store, StoredEncoder, Writer
from retrieval.encoders import Artifact
from retrieval.errors import EncoderError, GalleryError
from retrieval.flushing import flush
from retrieval.home import Home

ENCODER = "encoder"
# What names the encoder to come in the gallery's settings.
COMING = "reembedding"
# Characters of the fingerprint that name a folder.
_NAMED_BY = 16
_MADE, _GOING = ".encoder.being-made-", ".encoder.going-"
# A folder that has been "being made" for so long was left by a process that was killed.
_ABANDONED_SECONDS = 3600


def encoder_folder(home: Home, fingerprint: str) -> Path:
    """Return the folder of the encoder with this fingerprint, whether it is there or not."""
    later = home.path / _later(fingerprint)
    return later if home.is_shared or later.is_dir() else home.path / ENCODER


def put_first(home: Home, made: Artifact, tx: Writer) -> None:
    """Place the first encoder of a gallery in a database, in the transaction that makes it."""
    home.path.mkdir(parents=True)
    made.folder.replace(home.path / _later(made.spec.fingerprint))
    home.put(tx, _later(made.spec.fingerprint))


def load_artifact(home: Home, store: Store) -> Artifact:
    """Read the description of the encoder a gallery belongs to.

    Raises:
        GalleryError: The encoder in its folder is another one.
        EncoderError: It is missing or damaged.
    """
    while True:
        with store.read() as tx:
            expected = tx.encoder
            home.get(tx, _later(expected.fingerprint))
        try:
            artifact = Artifact.load(encoder_folder(home, expected.fingerprint))
        except EncoderError:
            # Another process may just have switched, and taken away what we had been told of.
            with store.read() as tx:
                if tx.encoder == expected:
                    raise
            continue
        if artifact.spec.fingerprint == expected.fingerprint:
            return artifact
        with store.read() as tx:
            if tx.encoder == expected:
                raise GalleryError(
                    f"The encoder in {artifact.folder} ({artifact.spec.name}) is not the one the "
                    f"vectors were made with ({expected.name}): put back the folder it came with."
                )


@contextmanager
def place_for_another(home: Home) -> Iterator[Path]:
    """Lend a folder's name inside the home, where an encoder can be made before it is placed.

    Raises:
        GalleryError: The gallery's folder can't be written to.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix=_MADE, dir=home.path)
    except OSError as error:
        raise GalleryError(
            f"{home.path} can't be written to ({error.strerror}): check its permissions."
        ) from error
    with made as folder:
        yield Path(folder) / ENCODER


def coming_artifact(home: Home, fingerprint: str, tx: Reader) -> Artifact | None:
    """Return the artifact placed for a later encoder, if it is there and whole."""
    home.get(tx, _later(fingerprint))
    try:
        artifact = Artifact.load(home.path / _later(fingerprint))
    except EncoderError:
        return None
    whole = artifact.spec.fingerprint == fingerprint and not artifact.damage()
    return artifact if whole else None


def place(home: Home, made: Artifact, tx: Writer) -> Artifact:
    """Give an encoder that lies in `place_for_another` its name, in one step.

    Args:
        home: The gallery's home.
        made: The encoder; what lies at its place is replaced.
        tx: A write transaction, which keeps others from placing or taking away.
    """
    for path in (*made.folder.rglob("*"), made.folder):
        flush(path)
    later = home.path / _later(made.spec.fingerprint)
    if later.exists():
        _take_away(later)
    made.folder.replace(later)
    flush(home.path)
    home.put(tx, later.name)
    return Artifact.load(later)


def take_away_others(home: Home, store: Store) -> None:
    """Delete the encoders that are neither in force nor to come, and what crashes left."""
    with store.write() as tx:
        for path in leftovers(home, tx):
            _take_away(path)
        needed = {path.name for path in _needed(home, tx)}
        for name in {name.split("/")[0] for name in tx.files(f"{ENCODER}-")} - needed:
            home.drop(tx, name)
    for path in home.path.glob(f"{_GOING}*"):
        shutil.rmtree(path, ignore_errors=True)


def coming_encoder(tx: Reader) -> StoredEncoder | None:
    """Return the encoder that a reembed, under way or broken off, is to switch to."""
    coming = tx.settings().get(COMING)
    return None if coming is None else tx.find_encoder(coming["fingerprint"])


def leftovers(home: Home, tx: Reader) -> list[Path]:
    """Return the folders of encoders that nobody needs any more, in order of their names."""
    found = [
        *home.path.glob(ENCODER),
        *home.path.glob(f"{ENCODER}-{'[0-9a-f]' * _NAMED_BY}"),
    ]
    old = time.time() - _ABANDONED_SECONDS
    found += [path for path in home.path.glob(f"{_MADE}*") if path.stat().st_mtime < old]
    needed = _needed(home, tx)
    return sorted(path for path in found if path.is_dir() and path not in needed)


def _needed(home: Home, tx: Reader) -> set[Path]:
    named = [one for one in (tx.encoder, coming_encoder(tx)) if one is not None]
    return {encoder_folder(home, one.fingerprint) for one in named}


def _later(fingerprint: str) -> str:
    return f"{ENCODER}-{fingerprint[:_NAMED_BY]}"


def _take_away(path: Path) -> None:
    # Renamed first: half of an encoder never lies where one is looked for.
    going = Path(tempfile.mkdtemp(prefix=_GOING, dir=path.parent))
    path.replace(going / path.name)
