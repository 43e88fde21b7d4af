"""Benchmarks that need no photos run, on small sizes; what they measure is for people to read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import retrieval

SCRIPTS = Path(retrieval.__file__).parent.parent / "scripts"


@pytest.mark.slow
def test_the_service_is_measured(photos: Path, tiny_encoder: Path) -> None:
    sizes = ["--encoder", str(tiny_encoder), "--seconds", "0.5", "--clients", "1", "--clients", "4"]
    done = subprocess.run(
        [sys.executable, SCRIPTS / "bench_service.py", photos, photos, *sizes],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line[:1] == "|"]
    assert [row[0] for row in rows[2:]] == ["1", "4", "1280"]
    for row in rows[2:4]:
        assert float(row[1]) > 0
        assert row[-1] == "0"
    assert "{200: " in done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_evaluation_is_measured() -> None:
    sizes = ["--queries", "20", "--items", "200", "--dim", "16", "--threads", "1", "--rounds", "1"]
    done = subprocess.run(
        [sys.executable, SCRIPTS / "bench_evaluation.py", *sizes],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[4:]]
    assert [row[:4] for row in rows] == [
        ["20", "200", "2", "2"],
        ["20", "200", "20", "32"],
        ["20", "200", "200", "2"],
        ["20", "200", "200", "32"],
        ["200", "200", "20", "2"],
    ]
    for row in rows:
        assert 10 < int(row[-1].removesuffix(" MB")) < 1000
