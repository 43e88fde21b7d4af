"""Copying a gallery to another place: a folder, or a database, with or without a Milvus server.

    1. begin     the new place is made with a mark, which lets nothing but a copy open it
    2. fill      files, vectors, all else, from one snapshot of the gallery copied
    3. compare   both are read back and found equal
    4. finish    the mark says so, and the new gallery is one that can be used
    5. settle    its index is made, and the mark goes

The same command goes on after a process was killed, wherever that was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from db import COPY, Rows, Store, compare, copy_rows, require_local
from retrieval.building import Progress
from retrieval.copied_files import (
    copy_encoders,
    copy_uploads,
    copy_verifier,
    require_encoder_copied,
)
from retrieval.encoder_folders import take_away_others
from retrieval.errors import GalleryError
from retrieval.folder import (
    INDEX,
    STORE,
    being_made,
    find_home,
    is_free,
    put_in_place,
    store_place,
)
from retrieval.generations import asked
from retrieval.home import Home
from retrieval.index_choice import AUTO, WHEN_DOWN, is_milvus, require_index, settle_index
from retrieval.kept_photos import PLACE
from retrieval.place import Place

# The share of free pages from which on a file is rewritten without them.
_FREE_SHARE = 0.25
_FINISHED = "An earlier run had copied and compared all of it; this one has seen to its index."


@dataclass(frozen=True)
class CopyReport:
    """What a copy did.

    Attributes:
        path: The new gallery: its folder, or its database's URL.
        items: How many items it has.
        vectors: How many vectors, those of removed items among them.
        sent: How many of these this run has sent; the others were there from one broken off.
        digest: SHA-256 over all rows, in hex, as read back from both.
        index: What it is searched by, as `--index` says it.
        notes: What to know of it: one sentence each.
    """

    path: str
    items: int
    vectors: int
    sent: int
    digest: str
    index: str
    notes: tuple[str, ...]


def copy_gallery(
    store: Store, home: Home, to: Place, *, index: str | None, progress: Progress | None
) -> CopyReport:
    """Copy a gallery to a place that holds none, or go on where the same copy was broken off.

    Args:
        store: The store of the gallery, of which one snapshot is read.
        home: Its home.
        to: Where the new one is to be.
        index: What that is to be searched by; `None`: as the one copied, where it can be.
        progress: Told how many rows of how many are copied or compared.

    Raises:
        GalleryError: Something is in the way, or the new gallery can't have such an index.
        StoreError: A database can't be used, or both were not found equal.
        EncoderError: The encoder is missing or damaged.
        EngineError: The Milvus server can't be used; all else is there then.
    """
    if index is not None:
        require_index(index, is_shared=to.is_shared)
    with store.rows() as source:
        settings, notes = _settings(source, to, index)
        target = _begin(source, home, to)
        try:
            there = find_home(to, target)
            there.path.mkdir(parents=True, exist_ok=True)
            notes += copy_uploads(source, home, there)
            sent = 0
            if _is_finished(target):
                notes.append(_FINISHED)
            else:
                sent = _fill(source, home, target, there, settings, _Steps(source, progress))
            with target.rows() as tx:
                report = _report(tx, there, sent, notes)
                fingerprint = tx.encoder.fingerprint
        except BaseException:
            target.close()
            raise
    try:
        settle_index(target, there.path / INDEX, fingerprint, stale_share=0)
        take_away_others(there, target)
        target.shrink(_FREE_SHARE)
        target.drop_watermark(COPY)
    finally:
        target.close()
    return report


class _Steps:
    """How many rows of how many are done."""

    def __init__(self, source: Rows, progress: Progress | None) -> None:
        # Each is copied, then read from both.
        self._total = 3 * source.count_rows() if progress else 0
        self._done = 0
        self._progress = progress

    def __call__(self, rows: int) -> None:
        self._done += rows
        if self._progress is not None:
            self._progress(self._done, self._total)


def _begin(source: Rows, home: Home, to: Place) -> Store:
    """Make the new store with its mark, or open it as an earlier run has left it."""
    if is_free(to):
        try:
            return _make(source, home, to)
        except OSError as error:
            raise GalleryError(
                f"{to} can't be made ({error.strerror or error}): choose another place, or make "
                "room there."
            ) from error
    if to.folder is not None and not (to.folder / STORE).is_file():
        raise GalleryError(f"{to} exists and is not empty: choose another place.")
    target = Store.open(store_place(to), unfinished=True)
    try:
        with target.read() as tx:
            mark = tx.watermark(COPY)
        mine = mark is not None and mark.details["from"] == source.uid
        if mark is None or (mark.details["verified"] and not mine):
            raise GalleryError(f"{to} holds a gallery already: choose another place.")
        if not mine:
            raise GalleryError(
                f"{to} holds part of another gallery, whose copy was broken off: finish that with "
                f"`lookalike copy -g {mark.details['name']} --to {to}`, or choose another place."
            )
    except BaseException:
        target.close()
        raise
    return target


def _make(source: Rows, home: Home, to: Place) -> Store:
    if to.folder is None:
        return Store.begin_copy(store_place(to), source, name=home.name)
    require_local(to.folder)
    to.folder.parent.mkdir(parents=True, exist_ok=True)
    with being_made(to.folder) as new:
        (new / INDEX).mkdir(parents=True)
        Store.begin_copy(new / STORE, source, name=home.name).close()
        put_in_place(new, to.folder)
    return Store.open(store_place(to), unfinished=True)


def _is_finished(target: Store) -> bool:
    """Whether only the index is left to do."""
    with target.read() as tx:
        mark = tx.watermark(COPY)
    return mark is not None and bool(mark.details["verified"])


def _fill(
    source: Rows,
    home: Home,
    target: Store,
    there: Home,
    settings: dict[str, Any],
    told: Callable[[int], None],
) -> int:
    """Copy, compare, and let the new gallery be used; return how many vectors were sent."""
    copy_encoders(source, home, target, there)
    copy_verifier(source, home, target, there)
    sent = copy_rows(source, target, told)
    with target.rows() as tx:
        compared = tx.seq
        require_encoder_copied(tx, there)
        digest = compare(source, tx, told)
    for text in target.damage():
        raise GalleryError(
            f"{there.name} is damaged after the copy ({text}): see to its disk, empty it and copy "
            "again."
        )
    with target.filling() as writer:
        writer.finish(source, settings, compared=compared, digest=digest)
    return sent


def _report(tx: Rows, there: Home, sent: int, notes: list[str]) -> CopyReport:
    mark = tx.watermark(COPY)
    return CopyReport(
        path=there.name,
        items=tx.count_items(),
        vectors=tx.count_all_vectors(),
        sent=sent,
        digest=str(mark.details["digest"]) if mark else "",
        index=asked(tx),
        notes=tuple(notes),
    )


def _settings(source: Rows, to: Place, index: str | None) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of the new gallery, with what to say of those that can't go along."""
    settings, notes = source.settings(), list[str]()
    if index is not None:
        settings["index"] = index
    try:
        require_index(settings.get("index", AUTO), is_shared=to.is_shared)
    except GalleryError:
        notes.append(
            f"A gallery in such a place can't have the index {settings['index']}: it is auto there."
        )
        settings["index"] = AUTO
    if not is_milvus(settings.get("index", AUTO)):
        settings.pop(WHEN_DOWN, None)
    if to.is_shared:
        settings.pop(PLACE, None)  # it is another one on each machine
    return settings, notes
