"""Benchmarks that need no photos run, on small sizes; what they measure is for people to read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from milvus_server import LentMilvus

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


@pytest.mark.slow
def test_duplicates_and_clusters_are_measured() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPTS / "bench_dedupe.py", "--items", "500", "--dim", "32"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[4:]]
    assert [row[0] for row in rows] == ["`dedupe`", "`cluster`"]
    assert rows[0][1].endswith("groups")
    assert rows[1][1].endswith("clusters")
    for row in rows:
        assert 0 < float(row[-1].removesuffix(" GB")) < 1


@pytest.mark.slow
def test_the_index_is_measured() -> None:
    sizes = ["--items", "3000", "--dim", "16", "--queries", "200", "--alone"]
    told = _printed("bench_index.py", *sizes)
    speeds = [line for line in told if "| lookalike |" in line]
    assert [line.split(" | ")[0] for line in speeds] == ["| 0.95", "| 0.99", "| 0.999"]
    (nearest,) = (line for line in told if line.startswith("nearest: "))
    assert int(nearest.split()[1]) >= 198
    assert any(line.startswith("| 3,000 | ") and line.count(" ms") == 5 for line in told)


@pytest.mark.slow
def test_larger_galleries_are_extrapolated() -> None:
    sizes = [one for size in (1000, 2000, 3000) for one in ("--items", str(size))]
    told = _printed("bench_scale.py", *sizes, "--dim", "16")
    rows = [line.strip("| ").split(" | ") for line in told if "extrapolated" in line]
    assert [row[0] for row in rows] == [
        f"{size} (extrapolated)" for size in ("1,000,000", "10,000,000", "100,000,000")
    ]
    stores = [float(row[1].removesuffix(" GB")) for row in rows]
    assert 5 < stores[1] / stores[0] < 15


@pytest.mark.slow
def test_backends_are_compared_up_to_milvus(lent_milvus: LentMilvus) -> None:
    lent_milvus.give_back()  # the benchmark starts its own
    sizes = ["--items", "2000", "--dim", "16", "--queries", "20", "--turns", "1"]
    told = _printed("bench_backends.py", *sizes)
    rows = [line.strip("| ").split(" | ") for line in told if line[:1] == "|" and "---" not in line]
    names = ["folder: exact", "folder: ivf", "exact", "ivf", "hnsw", "milvus"]
    tables = [place for place, row in enumerate(rows) if row[0] == "backend"]
    assert len(tables) == 4
    for place in tables[:3]:
        assert [row[0] for row in rows[place + 1 : place + 1 + len(names)]] == names
    for row in rows[tables[1] + 1 : tables[2]]:
        assert float(row[1]) > 0.9
    for row in rows[tables[0] + 3 : tables[1]]:
        assert 10 < int(row[-2].removesuffix(" MB").replace(",", "")) < 4000


def _printed(script: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, SCRIPTS / script, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()
