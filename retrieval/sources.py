"""Photos on disk or in an object store: which a folder holds, and what labels they are given."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from retrieval.errors import LabelsError, LookalikeError
from retrieval.images import IMAGE_SUFFIXES
from retrieval.paths import AnyPath, any_path, missing, open_text, within
from retrieval.remote import RemotePath


@dataclass(frozen=True)
class Label:
    """What a label source says of a photo.

    Attributes:
        label: The identity shown; `None` makes the photo an identity of its own.
        metadata: Further columns of a CSV.
    """

    label: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A file or an object to embed.

    Attributes:
        path: Absolute, symbolic links in its folders resolved.
        label: What the label source says of it; `None` if none was asked.
    """

    path: AnyPath
    label: Label | None = None


LabelSource = Callable[[AnyPath], Label]


def require_folder(folder: AnyPath) -> None:
    """Make sure that `find_photos` can look into a folder, without listing all of a store's.

    Raises:
        LookalikeError: `folder` is no folder, or can't be read.
    """
    if isinstance(folder, Path):
        next(find_photos(folder), None)
    else:
        folder.require_folder()


def find_photos(folder: AnyPath) -> Iterator[AnyPath]:
    """Yield the files below `folder` whose names say image, sorted within each folder.

    Hidden files and folders are left out, and links to folders are not followed. A store is asked
    once for all its objects, which are sorted by name.

    Raises:
        LookalikeError: `folder` is no folder, or can't be read.
    """
    if isinstance(folder, RemotePath):
        for path in folder.objects():
            below = path.key.removeprefix(folder.prefix).split("/")
            if not any(name.startswith(".") for name in below) and _names_image(path.name):
                yield path
        return
    if not folder.is_dir():
        raise LookalikeError(f"{folder} is no folder: name the folder that holds the photos.")

    def refuse(error: OSError) -> None:
        raise LookalikeError(
            f"{error.filename} can't be read ({error.strerror}): check its permissions."
        ) from error

    for root, folders, files in os.walk(folder.resolve(), onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and _names_image(name):
                yield Path(root, name)


def _names_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - a name, no path


def parent_name(path: AnyPath) -> Label:
    """Label a photo with its parent folder's name."""
    return Label(path.parent.name or None)


def labels_from_folders(folder: AnyPath) -> LabelSource:
    """Label the photos of a collection with their parent folder's name.

    One that lies directly in `folder` gets no label: the collection's name is nobody's identity.
    """
    top = folder.resolve()

    def label(path: AnyPath) -> Label:
        return Label() if path.parent == top else parent_name(path)

    return label


def no_labels(_path: AnyPath) -> Label:
    """Make every photo an identity of its own."""
    return Label()


def read_labels(
    file: AnyPath,
    folder: AnyPath | None = None,
    *,
    must_exist: bool = False,
    listed: Collection[AnyPath] = (),
) -> dict[AnyPath, Label]:
    """Read a CSV with the columns `path` and `label`; further columns become metadata.

    Args:
        file: UTF-8 CSV with a header. Its paths are absolute, or relative to the CSV's own folder,
            or, where no such file is there, to `folder`. An empty label means none.
        folder: The other place to look for relative paths.
        must_exist: Refuse a row whose photo is not there.
        listed: What `folder` holds: whether an object is there is told by this alone.

    Returns:
        The labels by absolute path, in the order of the file.

    Raises:
        LabelsError: A column is missing, a row doesn't fit or holds what can't be kept, or two rows
            name the same photo.
    """
    from db import StoreError, require_key, require_text

    labels: dict[AnyPath, Label] = {}
    rows: dict[str, int] = {}
    for row, values in csv_rows(file, required=("path", "label")):
        path = _locate(values.pop("path"), file, folder, listed)
        if path in labels:
            raise LabelsError(f"{file}, row {row}, column path: {path} is named a second time.")
        if must_exist and isinstance(path, RemotePath):
            rows[str(path)] = row
        elif must_exist and not os.path.exists(path):  # noqa: PTH110 - takes any name
            raise _not_there(file, row, path)
        labels[path] = Label(values.pop("label") or None, values)
        try:
            require_key(f"{file}, row {row}, column label:", labels[path].label)
            for column, value in values.items():
                require_text(f"{file}, row {row}, column {column}:", value)
        except StoreError as error:
            raise LabelsError(str(error)) from None
    # Asked at the end, as many objects can be asked for together.
    if gone := missing(rows):
        first = min(gone, key=rows.__getitem__)
        raise _not_there(file, rows[first], first)
    return labels


def _not_there(file: AnyPath, row: int, path: object) -> LabelsError:
    return LabelsError(
        f"{file}, row {row}, column path: there is no {path}; mend the path or the row."
    )


def csv_rows(file: AnyPath, *, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the row number in the file and the values of each row of a CSV with a header.

    Raises:
        LabelsError: The file can't be read, or lacks a column, or a row has gaps or is too long.
    """
    try:
        with open_text(file, encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            header = [name.strip() for name in reader.fieldnames or []]
            for name in required:
                if name not in header:
                    raise LabelsError(
                        f"{file} has no column {name!r}: its first row must name the columns "
                        f"{', '.join(required)}; it names {', '.join(header) or 'nothing'}."
                    )
            reader.fieldnames = header
            for values in reader:
                row = reader.line_num
                if None in values or None in values.values():
                    raise LabelsError(
                        f"{file}, row {row}: expected {len(header)} values ({', '.join(header)})."
                    )
                if not values[required[0]]:
                    raise LabelsError(f"{file}, row {row}, column {required[0]}: is empty.")
                yield row, values
    except OSError as error:
        raise LabelsError(f"{file} can't be read ({error.strerror}): check the name.") from error
    except UnicodeDecodeError as error:
        raise LabelsError(f"{file} is not UTF-8 ({error.reason}): save it as UTF-8.") from error
    except csv.Error as error:
        raise LabelsError(f"{file} is no CSV ({error}): check its quotes.") from error


def labels_from_csv(
    file: AnyPath, folder: AnyPath, listed: Collection[AnyPath] = ()
) -> LabelSource:
    """Label photos as a CSV says; a photo it doesn't name gets no label."""
    labels = read_labels(file, folder, listed=listed)

    def label(path: AnyPath) -> Label:
        return labels.get(path, Label())

    return label


def label_source(name: str, folder: AnyPath, listed: Collection[AnyPath] = ()) -> LabelSource:
    """Return the label source for `--labels folder|none|FILE.csv`; see `read_labels`."""
    if name == "folder":
        return labels_from_folders(folder)
    if name == "none":
        return no_labels
    file = any_path(name)
    if not file.is_file():
        raise LabelsError(f"There is no label file {name}: say folder, none, or a CSV's path.")
    return labels_from_csv(file, folder, listed)


def _locate(
    name: str, file: AnyPath, folder: AnyPath | None, listed: Collection[AnyPath]
) -> AnyPath:
    def is_there(path: AnyPath) -> bool:
        # os.path, as it takes a name no file can have for a file that is not there.
        return path in listed if isinstance(path, RemotePath) else os.path.exists(path)  # noqa: PTH110

    beside = absolute(within(file.parent, name))
    if folder is not None and not is_there(beside):
        below = absolute(within(folder, name))
        if is_there(below):
            return below
    return beside


def absolute(path: AnyPath) -> AnyPath:
    """Make a path absolute: links in its folders are resolved, a link to the file itself is kept.

    That is how `find_photos` names a file, so the same file gets the same name everywhere.
    """
    return path if isinstance(path, RemotePath) else path.parent.resolve() / path.name
