"""What the tests of the command line share: running it, and proving that nothing changed."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from retrieval.cli import main


def _run(*arguments: object, answer: str | None = None) -> Result:
    return CliRunner().invoke(
        main,
        [str(argument) for argument in arguments],
        input=answer,
        prog_name="lookalike",
        catch_exceptions=False,  # what would be a traceback fails the test with that traceback
    )


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run `lookalike` with these arguments; `answer` is typed at its questions."""
    return _run


@pytest.fixture
def ask_json() -> Callable[..., list[dict[str, Any]]]:
    """Run `lookalike … --json`, which must succeed, and return what each line of it says."""

    def ask(*arguments: object) -> list[dict[str, Any]]:
        result = _run(*arguments, "--json")
        assert result.exit_code == 0, result.stderr
        return [json.loads(line) for line in result.stdout.splitlines()]

    return ask


@pytest.fixture
def refusal() -> Callable[..., str]:
    """Run `lookalike`, which must refuse, and return the one sentence it says to that."""

    def refuse(*arguments: object) -> str:
        result = _run(*arguments)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert re.fullmatch(r"Error: .+\.\n", result.stderr), result.stderr
        sentence = result.stderr.removeprefix("Error: ").removesuffix("\n")
        assert not re.search(r"[.!?] [A-Z]", sentence), sentence
        return sentence

    return refuse


@pytest.fixture
def contents() -> Callable[[Path], dict[str, str]]:
    """Hash each file of a folder that is not derived and not SQLite's while a store is open."""

    def read(folder: Path) -> dict[str, str]:
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.name.endswith(("-wal", "-shm", ".blob"))
        }

    return read


@pytest.fixture
def sql() -> Callable[..., list[tuple[Any, ...]]]:
    """Run a statement on a gallery's database, behind lookalike's back."""

    def execute(gallery: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(gallery / "gallery.db")) as connection, connection:
            return connection.execute(statement, values).fetchall()

    return execute


@pytest.fixture
def many_photos(photos: Path, draw_photo: Callable[..., Any]) -> Path:
    """The folder `photos` with seven pictures of each colour: enough to tune a threshold."""
    for folder in photos.iterdir():
        for number in (5, 6):
            draw_photo(folder.name, number).save(folder / f"{number}.png")
    return photos


@pytest.fixture
def query_photo(tmp_path: Path, draw_photo: Callable[..., Any]) -> Path:
    """A red picture that is in no gallery."""
    path = tmp_path / "query.png"
    draw_photo("red", 99).save(path)
    return path


@pytest.fixture(scope="session")
def other_encoder(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an encoder like `tiny_encoder`, of the same name, but with other weights."""
    from safetensors.numpy import load_file, save_file

    from retrieval.encoders.artifact import WEIGHTS, Artifact, EncoderSpec

    mine = Artifact.load(tiny_encoder)
    weights = load_file(tiny_encoder / WEIGHTS)
    weights = {name: np.asarray(values + 1) for name, values in weights.items()}
    other = mine.copy_to(tmp_path_factory.mktemp("other") / "encoder")
    save_file(weights, other.folder / WEIGHTS)
    spec = EncoderSpec.of(
        mine.spec.name,
        architecture=mine.spec.architecture,
        dim=mine.spec.dim,
        preprocessing=mine.spec.preprocessing,
        provenance=mine.spec.provenance,
        weights=weights,
    )
    return Artifact.describe(other.folder, spec).folder


@pytest.fixture
def one_torch_thread() -> Iterator[None]:
    """Let torch compute in one thread: several that share a core wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
