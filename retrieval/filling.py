"""From a user's folders and files to the photos a build stores, and what each is labelled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from db import Store
from retrieval.building import Builder, BuildReport, Progress
from retrieval.encoders import Encoder
from retrieval.paths import AnyPath, any_path
from retrieval.sources import (
    Label,
    Source,
    absolute,
    find_photos,
    label_source,
    parent_name,
)


def sync_folder(
    store: Store,
    encoder: Encoder,
    folder: AnyPath,
    *,
    outside: Path,
    labels: str | None,
    prune: bool,
    allow_duplicates: bool,
    progress: Progress | None,
) -> BuildReport:
    """Bring a store in line with a folder of photos; see `Gallery.build`.

    Args:
        store: The gallery's store; remembers `labels` for the next time.
        encoder: Makes the vectors.
        folder: Searched with all its subfolders.
        outside: The gallery's own folder: what lies in it is left out.
        labels: The label source; `None`: the one remembered, at first `folder`.
        prune: Also remove the items whose photo is gone.
        allow_duplicates: Store photos whose bytes are stored already.
        progress: Told how many photos of how many are done.
    """
    with store.read() as tx:
        settings = tx.settings()
    labels = labels or settings.get("labels", "folder")
    photos = dict.fromkeys(_photos(folder, outside))
    label_of = label_source(labels, folder, photos)
    sources = [Source(path, label_of(path)) for path in photos]
    if labels not in ("folder", "none"):
        labels = str(absolute(any_path(labels)))
    if labels != settings.get("labels"):
        with store.write() as writer:
            writer.set_settings(writer.settings() | {"labels": labels})
    builder = Builder(store, encoder, allow_duplicates=allow_duplicates, progress=progress)
    builder.run(sources)
    builder.settle_gone(folder, sources, prune=prune)
    return builder.report


def sources_of(paths: Iterable[AnyPath], *, outside: Path, label: str | None) -> list[Source]:
    """Return the photos meant by files and folders; see `Gallery.add` and `sync_folder`."""
    said = None if label is None else Label(label)
    sources: dict[AnyPath, Source] = {}
    for path in paths:
        if path.is_dir():
            for found in _photos(path, outside):
                sources[found] = Source(found, said or parent_name(found))
        else:
            sources[absolute(path)] = Source(absolute(path), said)
    return list(sources.values())


def add_sources(
    store: Store,
    encoder: Encoder,
    sources: Sequence[Source],
    *,
    allow_duplicates: bool,
    progress: Progress | None,
) -> BuildReport:
    """Add photos; see `Gallery.add_sources`."""
    builder = Builder(store, encoder, allow_duplicates=allow_duplicates, progress=progress)
    return builder.run(sources)


def _photos(folder: AnyPath, outside: Path) -> Iterator[AnyPath]:
    own = outside.resolve()
    return (path for path in find_photos(folder) if not path.is_relative_to(own))
