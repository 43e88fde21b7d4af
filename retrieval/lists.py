"""Lists of photos that commands write: CSV files, whose paths other commands can read."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from retrieval.errors import LookalikeError
from retrieval.paths import any_path
from retrieval.remote import RemotePath


def require_free(out: Path, *, overwrite: bool) -> None:
    """Make sure that a file may be written.

    Raises:
        LookalikeError: It exists and may not be replaced, or its folder doesn't exist.
    """
    # os.path, as a name no file can have is told where the file is written.
    is_folder = os.path.isdir(out)  # noqa: PTH112
    if is_folder or not out.parent.is_dir():
        what = "is a folder" if is_folder else "lies in a folder that does not exist"
        raise LookalikeError(f"{out} {what}: name the CSV file to write.")
    if os.path.exists(out) and not overwrite:  # noqa: PTH110
        raise LookalikeError(f"{out} exists: say --force to replace it, or choose another name.")


def named(photo: str, folder: Path) -> str:
    """Name a photo in a list: relative to the list's folder if it lies below that, else absolutely.

    Args:
        photo: The photo, absolute.
        folder: The list's folder, resolved.

    Raises:
        LookalikeError: Its name is no text.
    """
    path = any_path(photo)
    if isinstance(path, RemotePath):
        return photo
    name = str(path.relative_to(folder) if path.is_relative_to(folder) else path)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise LookalikeError(
            f"The name of {path} is no text, so no CSV can hold it: rename the photo."
        ) from error
    return name


def write_rows(out: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV in UTF-8, once all its rows are made.

    Raises:
        LookalikeError: It can't be written.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    try:
        out.write_bytes(text.getvalue().encode())
    except OSError as error:
        raise LookalikeError(
            f"{out} can't be written ({error.strerror}): choose another place."
        ) from error
