"""The files of a gallery on this machine: the gallery itself, or a copy of what its database keeps.

A gallery in a folder has its files there, and nowhere else. One in a database is shared by many
machines: what they need of files, the encoder and the verifier, is kept in the store, and each
machine has a copy, brought in line when it is opened.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from db import Reader, Writer
from retrieval.errors import GalleryError

# What a machine makes for itself: not worth sending to others.
_OWN = "compiled"


@dataclass(frozen=True)
class Home:
    """Where the files of an open gallery are.

    Attributes:
        path: The folder.
        name: What a user calls the gallery.
        is_shared: Whether the store keeps what matters of it.
    """

    path: Path
    name: str
    is_shared: bool = False

    def put(self, tx: Writer, folder: str) -> None:
        """Let the store keep a folder of this home as it is now, in place of what it kept."""
        if not self.is_shared:
            return
        tx.drop_files(f"{folder}/")
        for path in sorted((self.path / folder).rglob("*")):
            name = path.relative_to(self.path)
            if path.is_file() and _OWN not in name.parts:
                tx.put_file(name.as_posix(), path.read_bytes())
        self._note(folder, tx.files(f"{folder}/"))

    def get(self, tx: Reader, folder: str) -> None:
        """Bring a folder of this home in line with what the store keeps.

        Raises:
            GalleryError: It can't be written.
        """
        if not self.is_shared:
            return
        kept = tx.files(f"{folder}/")
        if kept == self._noted(folder) and (self.path / folder).is_dir() == bool(kept):
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".fetched-", dir=self.path) as made:
                for name in kept:
                    path = Path(made) / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(tx.file(name))
                if (self.path / folder).is_dir():
                    (self.path / folder).replace(Path(made) / ".before")
                if kept:
                    (Path(made) / folder).replace(self.path / folder)
            self._note(folder, kept)
        except OSError as error:
            raise GalleryError(
                f"{self.path} can't be written to ({error.strerror}), where files of {self.name} "
                "are kept: see to its permissions and to room on its disk."
            ) from error

    def drop(self, tx: Writer, folder: str) -> None:
        """Let the store forget a folder; this machine's copy stays."""
        if self.is_shared:
            tx.drop_files(f"{folder}/")

    def forget(self, folder: str) -> None:
        """Delete this machine's copy of a folder."""
        shutil.rmtree(self.path / folder, ignore_errors=True)
        self._notes(folder).unlink(missing_ok=True)

    def _notes(self, folder: str) -> Path:
        return self.path / f".{folder}.kept.json"

    def _note(self, folder: str, kept: dict[str, str]) -> None:
        new = self._notes(folder).with_suffix(".new")
        new.write_text(json.dumps(kept), encoding="utf-8")
        new.replace(self._notes(folder))

    def _noted(self, folder: str) -> dict[str, str] | None:
        try:
            noted: dict[str, str] = json.loads(self._notes(folder).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None  # it is fetched anew
        return noted
