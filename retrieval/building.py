"""Bringing a gallery in line with its photos: what is new, changed, moved, gone or unreadable.

A photo is looked at again only when its size or modification time differs from what is stored. What
a person did by hand stays: an item's label is replaced only when its label source says something
else than it said last time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db import Item, NewItem, Store, Writer
from db.texts import LONGEST, is_too_long
from retrieval.belonging import require_encoder
from retrieval.dividing import Division
from retrieval.embedding import Embedded, FailedPhoto, Known, Outcome, Unreadable, embed
from retrieval.encoders import Encoder
from retrieval.paths import AnyPath, any_path, missing
from retrieval.remote import RemoteError, RemotePath
from retrieval.sources import Label, Source

# A transaction ends after so many photos or seconds: few enough that a stop costs little work,
# many enough that flushing to disk costs little time.
_COMMIT_PHOTOS, _COMMIT_SECONDS = 256, 2.0
# Photos whose stored items are held at a time.
_LOOKED_UP = 1000
# Bytes that are told of each end of a path that is too long.
_SHOWN = 1200

Progress = Callable[[int, int], None]
"""Told after each photo how many of how many are done."""


@dataclass(frozen=True)
class Duplicate:
    """A photo whose exact bytes are stored already, as item `item_id`."""

    path: str
    item_id: int


@dataclass
class BuildReport:
    """What a build or an add did.

    Attributes:
        added: New items.
        changed: Items whose photo has new content.
        unchanged: Photos that were as stored.
        moved: Items whose photo has a new path.
        relabelled: Items whose label source says something new.
        removed: Items removed because their photo is gone (`prune`).
        duplicates: Photos left out because their bytes are stored already.
        failed: Photos that could not be read; nothing stored is lost by it.
        gone: Stored photos of this folder that are no longer there.
        item_ids: Ids of the items added or changed.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    moved: int = 0
    relabelled: int = 0
    removed: int = 0
    duplicates: list[Duplicate] = field(default_factory=list)
    failed: list[FailedPhoto] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    item_ids: list[int] = field(default_factory=list)

    @property
    def touched(self) -> int:
        """How many items are not what they were."""
        return self.added + self.changed + self.relabelled + self.removed


class Builder:
    """One run over photos; commits as it goes, so that it can be stopped at any moment."""

    def __init__(
        self,
        store: Store,
        encoder: Encoder,
        *,
        allow_duplicates: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self._store = store
        self._encoder = encoder
        self._allow_duplicates = allow_duplicates
        self._progress = progress or (lambda _done, _total: None)
        # Content hashes of the items whose photo no longer looks as stored, by path.
        self._stale: dict[str, str] = {}
        self._contents: NDArray[np.uint64] | None = None
        self.report = BuildReport()

    def run(self, sources: Sequence[Source]) -> BuildReport:
        """Store what is new or changed among `sources`."""
        troubles = [_name_trouble(source.path) for source in sources]
        if any(troubles):
            with self._store.write() as tx:
                for source, trouble in zip(sources, troubles, strict=True):
                    if trouble is not None:
                        self._fail(tx, source, trouble)
            sources = [
                one for one, trouble in zip(sources, troubles, strict=True) if trouble is None
            ]
        total, todo = len(sources), []
        relabelled = []
        with self._store.read() as tx:
            if total > _LOOKED_UP:  # for few, the store is asked about each
                self._contents = tx.content_prefixes()
            for start in range(0, total, _LOOKED_UP):
                some = sources[start : start + _LOOKED_UP]
                stored = {item.path: item for item in tx.items(paths=[str(s.path) for s in some])}
                for source in some:
                    item = stored.get(str(source.path))
                    if item is None or not _is_as_stored(source.path, item):
                        todo.append(source)
                        if item is not None:
                            self._stale[item.path] = item.content_hash
                    else:
                        self.report.unchanged += 1
                        if changes := _label_changes(item, source):
                            relabelled.append((item.id, changes))
        self._relabel(relabelled)
        done = total - len(todo)
        self._progress(done, total)
        with self._store.sharing() as share:
            division = Division(
                self._store, share, todo, lambda one, item: _is_as_stored(one.path, item)
            )
            for mine in division.rounds():
                done = self._embed(mine, division, done, total)
        self.report.unchanged += len(division.done_by_others)
        self._progress(total, total)
        return self.report

    def _embed(self, mine: Iterator[Source], division: Division, done: int, total: int) -> int:
        outcomes: list[Outcome] = []
        committed = time.monotonic()

        def commit() -> None:
            self._commit(outcomes)
            division.release([one.source for one in outcomes])
            outcomes.clear()

        for outcome in embed(mine, self._encoder, is_known=self._is_known):
            outcomes.append(outcome)
            done += 1
            self._progress(done, total)
            overdue = time.monotonic() - committed > _COMMIT_SECONDS
            if len(outcomes) >= _COMMIT_PHOTOS or overdue:
                commit()
                committed = time.monotonic()
        commit()
        return done

    def settle_gone(self, folder: AnyPath, sources: Iterable[Source], *, prune: bool) -> None:
        """Report, and with `prune` remove, the items of `folder` that `sources` doesn't name."""
        present = {_shown(source.path) for source in sources}
        top = folder.resolve()

        def is_gone(path: str) -> bool:
            return path not in present and any_path(path).is_relative_to(top)

        with self._store.read() as tx:
            gone = {item.path: item.id for item in tx.items() if is_gone(item.path)}
            settled = [failure.path for failure in tx.failures() if is_gone(failure.path)]
        self.report.gone = list(gone)
        if settled or (gone and prune):
            with self._store.write() as writer:
                writer.forget_failures(settled)
                if prune:
                    self.report.removed = writer.remove_items(list(gone.values()))

    def _is_known(self, source: Source, content_hash: str) -> bool:
        if (stale := self._stale.get(str(source.path))) is not None:
            return stale == content_hash
        if self._allow_duplicates:
            return False
        if self._contents is not None:
            # Few photos of a build are stored already: most are told apart without the store.
            prefix = np.uint64(int(content_hash[:16], 16))
            place = np.searchsorted(self._contents, prefix)
            if place == len(self._contents) or self._contents[place] != prefix:
                return False
        with self._store.read() as tx:
            return bool(tx.stored_contents([content_hash]))

    def _fail(self, tx: Writer, source: Source, reason: str) -> None:
        path = _shown(source.path)
        tx.record_failure(path, reason)
        self.report.failed.append(FailedPhoto(path, reason))

    def _relabel(self, changes: list[tuple[int, dict[str, Any]]]) -> None:
        if not changes:
            return
        with self._store.write() as tx:
            for item_id, columns in changes:
                tx.update_item(item_id, **columns)
        self.report.relabelled += len(changes)

    def _commit(self, outcomes: list[Outcome]) -> None:
        if not outcomes:
            return
        gone = self._gone_objects(outcomes)
        with self._store.write() as tx:
            require_encoder(tx, self._encoder.spec.fingerprint)
            embedded = [one for one in outcomes if isinstance(one, Embedded)]
            known = [one for one in outcomes if isinstance(one, Known)]
            known += self._store_embedded(tx, embedded)
            for settled in known:
                self._store_known(tx, str(settled.source.path), settled, gone)
            for outcome in outcomes:
                if isinstance(outcome, Unreadable):
                    self._fail(tx, outcome.source, outcome.reason)

    def _store_embedded(self, tx: Writer, embedded: list[Embedded]) -> list[Known]:
        """Store what is new or changed; return what turns out to be stored already."""
        # Looked up here, under the write lock: another process may have stored some meanwhile.
        stored = {
            item.path: item for item in tx.items(paths=[str(one.source.path) for one in embedded])
        }
        contents = tx.stored_contents([one.content.content_hash for one in embedded])
        new, known = [], []
        for one in embedded:
            item = stored.get(str(one.source.path))
            if item is not None:
                if item.content_hash == one.content.content_hash:
                    self.report.unchanged += 1
                    continue
                tx.replace_image(item.id, _new_item(one, item), one.vector)
                self.report.changed += 1
                self.report.item_ids.append(item.id)
            elif one.content.content_hash in contents and not self._allow_duplicates:
                known.append(Known(one.source, one.content))
            else:
                contents.add(one.content.content_hash)
                new.append(one)
        if new:
            vectors = np.stack([one.vector for one in new])
            self.report.item_ids += tx.add_items([_new_item(one) for one in new], vectors)
            self.report.added += len(new)
        return known

    def _gone_objects(self, outcomes: Iterable[Outcome]) -> set[str]:
        """Return which items with bytes found elsewhere have lost their object in a store.

        Asked before the write lock is taken: others need not wait for a store's answers.
        """
        elsewhere: set[str] = set()
        with self._store.read() as tx:
            for one in outcomes:
                if isinstance(one, Known) and str(one.source.path) not in self._stale:
                    same = tx.items(content_hash=one.content.content_hash)
                    elsewhere |= {item.path for item in same}
        remote = [path for path in elsewhere if isinstance(any_path(path), RemotePath)]
        try:
            return missing(remote)
        except RemoteError:  # what nobody can tell to be gone counts as there
            return set()

    def _store_known(self, tx: Writer, path: str, outcome: Known, gone: set[str]) -> None:
        """Settle a photo whose bytes are stored: touched, moved, or a duplicate."""
        content = outcome.content
        same = list(tx.items(content_hash=content.content_hash))
        item = next((item for item in same if item.path == path), None)
        moved = False
        if item is None:
            item = next((item for item in same if _has_lost(item, gone)), None)
            moved = item is not None
        if not same:
            self._fail(tx, outcome.source, "its stored copy was removed meanwhile: run again")
            return
        if item is None:
            tx.forget_failures([path])
            self.report.duplicates.append(Duplicate(path, same[0].id))
            return
        columns = {
            "path": path,
            "mtime_ns": content.mtime_ns,
            **_label_changes(item, outcome.source),
        }
        tx.update_item(item.id, **columns)
        tx.forget_failures([path])
        self.report.moved += moved
        self.report.unchanged += not moved
        self.report.relabelled += "label" in columns


def _shown(path: AnyPath) -> str:
    """Return a path as text that can be stored, whatever its bytes; of a long one, both ends."""
    shown = os.fsencode(path).decode("utf-8", "backslashreplace")
    if not is_too_long(shown):
        return shown
    whole = shown.encode()
    ends = (whole[:_SHOWN], whole[-_SHOWN:])
    return "…".join(end.decode(errors="ignore") for end in ends)


def _name_trouble(path: AnyPath) -> str | None:
    """Return why an item can't have this path, if so."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return "its name is not valid UTF-8: rename it"
    if is_too_long(str(path)):
        return f"its path is longer than {LONGEST:,} bytes: move it to a folder nearer the top"
    return None


def _is_as_stored(path: AnyPath, item: Item) -> bool:
    try:
        status = path.stat()
    except OSError:  # a reason to look at it, which says what is wrong
        return False
    return (status.st_size, status.st_mtime_ns) == (item.file_size, item.mtime_ns)


def _has_lost(item: Item, gone: set[str]) -> bool:
    path = any_path(item.path)
    return item.path in gone if isinstance(path, RemotePath) else not path.exists()


def _label_changes(item: Item, source: Source) -> dict[str, Any]:
    """Return the columns to set because the label source says something new."""
    said = source.label
    changes: dict[str, Any] = {}
    if said is None:
        return changes
    if said.label != item.source_label:
        changes |= {"label": said.label, "source_label": said.label}
    if said.metadata and said.metadata != item.metadata:
        changes["meta"] = said.metadata
    return changes


def _new_item(outcome: Embedded, old: Item | None = None) -> NewItem:
    """Describe an embedded photo; what its label source doesn't say is taken from the old item."""
    said = outcome.source.label or (
        Label(old.source_label, old.metadata) if old is not None else Label()
    )
    label = (
        said.label if old is None else _label_changes(old, outcome.source).get("label", old.label)
    )
    return NewItem(
        path=str(outcome.source.path),
        content_hash=outcome.content.content_hash,
        width=outcome.width,
        height=outcome.height,
        file_size=outcome.content.file_size,
        mtime_ns=outcome.content.mtime_ns,
        label=label,
        source_label=said.label,
        metadata=said.metadata or (old.metadata if old is not None else {}),
    )
