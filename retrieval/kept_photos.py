"""Photos without a place of their own: kept in the gallery's folder, wherever that is moved to."""

from __future__ import annotations

from pathlib import Path

from db import Store

FOLDER = "uploads"
# What the settings call the folder's place, as items' paths begin with it.
_PLACE = "uploads"


def folder_of_kept(store: Store, gallery: Path) -> Path:
    """Return the folder for such photos, absolute; it is made if there is none yet.

    Args:
        store: The store of the gallery.
        gallery: The gallery's folder.
    """
    folder = gallery.resolve() / FOLDER
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        with store.write() as tx:
            tx.set_settings(tx.settings() | {_PLACE: str(folder)})
    return folder


def follow_kept(store: Store, gallery: Path) -> None:
    """Let items name the photos kept here by where they are, should the gallery have been moved."""
    folder = gallery.resolve() / FOLDER
    if not folder.is_dir():
        return
    with store.read() as tx:
        before = tx.settings().get(_PLACE)
    if before in (None, str(folder)):
        return
    with store.write() as writer:
        writer.move_paths(f"{before}/", f"{folder}/")
        writer.set_settings(writer.settings() | {_PLACE: str(folder)})
