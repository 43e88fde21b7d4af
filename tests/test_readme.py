"""The README tells the truth: its commands run, and print what it says they print."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from retrieval.cli import main

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SESSION = re.findall(r"```console\n(.*?)```", README, re.DOTALL)


def steps() -> list[tuple[str, str]]:
    """Return each command of the session with what it prints."""
    parts = re.split(r"^\$ ", "\n".join(SESSION), flags=re.MULTILINE)[1:]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def shape(text: str) -> str:
    """Leave out what another CPU may change: digits, and the spaces that line them up."""
    return re.sub(r"\s+", " ", re.sub(r"\d[\d.,]*", "#", text)).strip()


def test_every_command_is_in_the_table() -> None:
    assert set(re.findall(r"^\| `([a-z-]+)", README, re.MULTILINE)) == set(main.commands)


@pytest.mark.grocery
@pytest.mark.slow
def test_the_session_prints_what_it_says(grocery: Path, tmp_path: Path) -> None:
    (tmp_path / "GroceryStoreDataset").mkdir()
    (tmp_path / "GroceryStoreDataset" / "dataset").symlink_to(grocery.resolve())
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    assert len(steps()) == 6
    for command, expected in steps():
        done = subprocess.run(
            shlex.split(command),
            cwd=tmp_path,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        printed = done.stdout.replace(str(grocery.resolve()), "…")
        # The nearest photos may change places on a CPU without bfloat16; the answer may not.
        assert shape(printed)[:60] == shape(expected)[:60]
        if command.startswith("lookalike query"):
            assert printed.splitlines()[1] == expected.splitlines()[1]
        else:
            assert shape(printed) == shape(expected)
