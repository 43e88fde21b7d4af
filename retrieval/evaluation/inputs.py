"""What a gallery is judged by: photos whose labels are known, from a folder or a CSV."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.errors import LabelsError, LookalikeError
from retrieval.paths import AnyPath
from retrieval.sources import Label, Source, find_photos, parent_name, read_labels

# The subfolders of a data set that says itself what is what.
GALLERY, PROBE, UNKNOWN = "gallery", "probe", "unknown"
# The columns of a CSV that mean more than metadata.
SPLIT, GROUP = "split", "group"


@dataclass(frozen=True)
class Queries:
    """Photos to judge a gallery by.

    Attributes:
        sources: The photos with their labels.
        strangers: Those that show nobody the gallery knows, whatever their label says.
    """

    sources: list[Source]
    strangers: frozenset[AnyPath] = frozenset()

    def group(self, source: Source) -> str | None:
        """Return the capture session a photo belongs to, if any was said."""
        return (source.label.metadata.get(GROUP) or None) if source.label else None


def read_queries(queries: AnyPath, *, split: str | None = None) -> Queries:
    """List the photos of a folder or a CSV.

    Args:
        queries: A folder: labels are the parent folders' names. One with a subfolder `probe` or
            `unknown` is taken apart: the photos in `unknown` are strangers whatever their folder's
            name, and what lies elsewhere than in these two is left alone. Or a CSV
            `path,label[,split][,group]`.
        split: Only the CSV's rows whose column `split` says so.

    Raises:
        LookalikeError: There are none, or the CSV can't be read or has no such split.
    """
    if queries.is_dir():
        if split is not None:
            raise LookalikeError(f"{queries} is a folder and has no splits: leave --split out.")
        return _from_folder(queries)
    labels = read_labels(queries, must_exist=True)
    if split is not None:
        labels = _only(labels, split, queries)
    _require_photos(labels, queries)
    return Queries([Source(path, label) for path, label in labels.items()])


def is_data_set(folder: AnyPath) -> bool:
    """Whether a folder brings a gallery of its own to be judged."""
    return all((folder / name).is_dir() for name in (GALLERY, PROBE))


def _from_folder(folder: AnyPath) -> Queries:
    parts = [folder / name for name in (PROBE, UNKNOWN) if (folder / name).is_dir()]
    found = [path for part in parts or [folder] for path in find_photos(part)]
    _require_photos(found, folder)
    unknown = (folder / UNKNOWN).resolve()
    strangers = frozenset(path for path in found if parts and path.is_relative_to(unknown))
    return Queries([Source(path, parent_name(path)) for path in found], strangers)


def _only(labels: dict[AnyPath, Label], split: str, file: AnyPath) -> dict[AnyPath, Label]:
    splits = [label.metadata.get(SPLIT) for label in labels.values()]
    if None in splits:
        raise LabelsError(f"{file} has no column {SPLIT!r}: leave --split out, or add the column.")
    chosen = {path: label for path, label in labels.items() if label.metadata[SPLIT] == split}
    if not chosen:
        said = ", ".join(sorted({repr(one) for one in splits})) or "none"
        raise LabelsError(f"{file}, column {SPLIT}: no row says {split!r}, only {said}.")
    return chosen


def _require_photos(photos: object, queries: AnyPath) -> None:
    if not photos:
        raise LookalikeError(f"{queries} holds no photos: name a folder or a CSV `path,label`.")
