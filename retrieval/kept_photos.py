"""Photos without a place of their own: kept in the gallery's folder, wherever that is moved to."""

from __future__ import annotations

import os
import time
from pathlib import Path

from db import Reader, Store
from retrieval.home import Home

FOLDER = "uploads"
PLACE = "uploads"
"""What the settings call the folder's place, as items' paths begin with it."""
_YOUNG_SECONDS = 3600


def folder_of_kept(store: Store, home: Home) -> Path:
    """Return the folder for such photos, absolute; it is made if there is none yet.

    Args:
        store: The store of the gallery.
        home: Its home; that of a gallery in a database is on this machine, and so are they.
    """
    folder = home.path.resolve() / FOLDER
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        if home.is_shared:  # the place is another one on each machine
            return folder
        with store.write() as tx:
            tx.set_settings(tx.settings() | {PLACE: str(folder)})
    return folder


def place_of_kept(tx: Reader, home: Home) -> str:
    """Return the folder that the paths of items with such photos begin with."""
    return str(tx.settings().get(PLACE) or home.path.resolve() / FOLDER)


def drop_unused_kept(store: Store, home: Home) -> int:
    """Delete the photos kept here that no item names, nor one that can be restored.

    Returns:
        How many there were.
    """
    folder = home.path.resolve() / FOLDER
    with store.read() as tx:
        named = tx.paths_below(f"{folder}/")
    dropped = 0
    for path in folder.glob("*"):
        # A young one may be about to become an item's.
        if str(path) not in named and path.stat().st_mtime < time.time() - _YOUNG_SECONDS:
            path.unlink(missing_ok=True)
            dropped += 1
    return dropped


def follow_kept(store: Store, home: Home) -> None:
    """Let items name the photos kept here by where they are, should the gallery have been moved."""
    folder = home.path.resolve() / FOLDER
    if home.is_shared or not folder.is_dir():
        return
    with store.read() as tx:
        before = tx.settings().get(PLACE)
    # Where nothing can be written, answers don't need it either.
    if before in (None, str(folder)) or not os.access(home.path, os.W_OK):
        return
    with store.write() as writer:
        writer.move_paths(f"{before}/", f"{folder}/")
        writer.set_settings(writer.settings() | {PLACE: str(folder)})
