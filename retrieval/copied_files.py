"""The files that go along when a gallery is copied: encoders, the verifier, uploads."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from db import Reader, Store
from retrieval.encoder_folders import (
    coming_artifact,
    coming_encoder,
    encoder_folder,
    place,
    place_for_another,
)
from retrieval.encoders import Artifact
from retrieval.errors import EncoderError, GalleryError
from retrieval.flushing import flush
from retrieval.home import Home
from retrieval.kept_photos import FOLDER as UPLOADS
from retrieval.kept_photos import place_of_kept
from retrieval.verifying.storing import FOLDER as VERIFIER


def copy_encoders(tx: Reader, source: Home, store: Store, target: Home) -> None:
    """Copy the encoder in force, and the one that a reembed under way is to switch to.

    Args:
        tx: A snapshot of the gallery copied.
        source: Its home.
        store: The store that is filled.
        target: Its home; an encoder that is there and whole is not copied again.

    Raises:
        EncoderError: One is missing or damaged.
        GalleryError: The new home can't be written to.
    """
    for encoder in (tx.encoder, coming_encoder(tx)):
        if encoder is None:
            continue
        with store.rows() as mine:
            if coming_artifact(target, encoder.fingerprint, mine) is not None:
                continue
        of_source = coming_artifact(source, encoder.fingerprint, tx)
        if of_source is None:
            of_source = Artifact.load(encoder_folder(source, encoder.fingerprint))
            if of_source.spec.fingerprint != encoder.fingerprint:
                continue  # one to come that was not kept; the reembed makes it anew
        for text in of_source.damage():
            raise EncoderError(text)
        with place_for_another(target) as folder:
            made = of_source.copy_to(folder)
            with store.filling() as writer:
                place(target, made, writer)


def require_encoder_copied(tx: Reader, target: Home) -> None:
    """Make sure that the encoder in force is there and whole.

    Raises:
        GalleryError: It is not.
    """
    if coming_artifact(target, tx.encoder.fingerprint, tx) is None:
        raise GalleryError(
            f"The encoder in {encoder_folder(target, tx.encoder.fingerprint)} is not whole after "
            "the copy: delete it and run the same command again."
        )


def copy_verifier(tx: Reader, source: Home, store: Store, target: Home) -> None:
    """Copy the verifier, if there is one, in place of the one that is there."""
    source.get(tx, VERIFIER)
    theirs = source.path / VERIFIER
    target.forget(VERIFIER)
    if theirs.is_dir():
        with tempfile.TemporaryDirectory(prefix=".verifier-", dir=target.path) as made:
            new = Path(shutil.copytree(theirs, Path(made) / VERIFIER))
            for path in (*new.rglob("*"), new):
                flush(path)
            new.replace(target.path / VERIFIER)
        flush(target.path)
    if target.is_shared:
        with store.filling() as writer:
            target.put(writer, VERIFIER)


def copy_uploads(tx: Reader, source: Home, target: Home) -> list[str]:
    """Copy the photos that are kept in a gallery's folder into another's.

    Args:
        tx: A snapshot of the gallery copied.
        source: Its home.
        target: That of the new one.

    Returns:
        A sentence about those that stay where they are, as one of both is in a database.
    """
    before = place_of_kept(tx, source)
    named = sorted(tx.paths_below(f"{before}/"))
    if not named:
        return []
    if source.is_shared or target.is_shared:
        return [
            f"Uploads stay in {before} ({len(named):,}), as they go along only from folder to "
            "folder; answers don't need them."
        ]
    folder = target.path / UPLOADS
    folder.mkdir(exist_ok=True)
    for path in named:
        there = folder / path.removeprefix(f"{before}/")
        here = source.path / UPLOADS / there.name
        # Some may be gone: answers don't need them.
        if not there.exists() and here.is_file():
            new = folder / f".{there.name}.new"
            shutil.copy2(here, new)
            new.replace(there)
    return []
