"""A run that is killed again and again makes, bit for bit, the encoder of one that is not."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from retrieval.encoders.artifact import WEIGHTS

KILLS = 20
# What two runs must be told alike: the rest of a plan follows from what this machine measures.
FIXED = ("--mode", "partial", "--epochs", "8", "--precision", "float32")
_PATIENCE = 300


def command(photos: Path, out: Path, checkpoint: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-c", "from retrieval.cli import main; main()"),
        *("train", str(photos), "--out", str(out), *FIXED, "--batch", "8", "--views", "2"),
        *("--encoder", "timm:test_efficientnet", "--weights", str(checkpoint), *more),
    ]


def state(work: Path) -> list[tuple[str, int]]:
    """What the run's folder holds now."""
    found = []
    for path in work.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # it got its name meanwhile
            found.append((str(path), path.stat().st_mtime_ns))
    return sorted(found)


def killed(arguments: list[str], work: Path, choose: random.Random) -> bool:
    """Run until the folder has changed so often, and kill; False where it was done before."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    changes, seen, deadline = choose.randrange(5), state(work), time.monotonic() + _PATIENCE
    while changes and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
        if (now := state(work)) != seen:
            changes, seen = changes - 1, now
    time.sleep(choose.uniform(0, 0.05))
    alive = process.poll() is None
    process.kill()
    _, trouble = process.communicate()
    assert alive or process.returncode == 0, trouble
    return alive


@pytest.mark.slow
def test_killed_at_random_moments(
    photos: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # Larger photos take longer to look at: some kills come before anything is there.
    for path in photos.rglob("*.png"):
        with Image.open(path) as image:
            image.resize((300, 240)).save(path)
    whole, out = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(photos, whole, tiny_checkpoint), check=True, capture_output=True)
    expected = (whole / WEIGHTS).read_bytes()
    work = tmp_path / "killed.training"
    choose = random.Random(0)
    kills = 0
    while kills < KILLS or (work / "plan.json").exists() or not out.exists():
        resume = ["--resume"] if (work / "plan.json").exists() else []
        arguments = command(photos, out, tiny_checkpoint, *resume)
        if kills < KILLS:
            kills += killed(arguments, work, choose)
        else:
            subprocess.run(arguments, check=True, capture_output=True)
        if out.exists() and kills < KILLS:  # done early: once more
            assert (out / WEIGHTS).read_bytes() == expected
            out.rename(tmp_path / f"done-{kills}")
    assert (out / WEIGHTS).read_bytes() == expected
