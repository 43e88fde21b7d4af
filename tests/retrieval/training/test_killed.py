"""A run that is killed again and again makes, bit for bit, the encoder of one that is not."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path

import pytest
from lives import born, lookalike
from PIL import Image

from retrieval.encoders.artifact import WEIGHTS

KILLS = 20
# What two runs must be told alike: the rest of a plan follows from what this machine measures.
FIXED = ("--mode", "partial", "--epochs", "8", "--precision", "float32")
_PATIENCE = 300


def command(photos: Path, out: Path, checkpoint: Path, *more: str) -> list[str]:
    return [
        *("train", str(photos), "--out", str(out), *FIXED, "--batch", "8", "--views", "2"),
        *("--encoder", "timm:test_efficientnet", "--weights", str(checkpoint), *more),
    ]


def run(arguments: list[str], told: Path) -> None:
    """Run to the end."""
    process = born(lookalike, *arguments, out=told, trouble=told)
    process.join()
    assert process.exitcode == 0, told.read_text()


def state(work: Path) -> list[tuple[str, int]]:
    """What the run's folder holds now."""
    found = []
    for path in work.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # it got its name meanwhile
            found.append((str(path), path.stat().st_mtime_ns))
    return sorted(found)


def killed(arguments: list[str], work: Path, told: Path, choose: random.Random) -> bool:
    """Run until the folder has changed so often, and kill; False where it was done before."""
    process = born(lookalike, *arguments, out=told, trouble=told)
    changes, seen, deadline = choose.randrange(5), state(work), time.monotonic() + _PATIENCE
    while changes and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.001)
        if (now := state(work)) != seen:
            changes, seen = changes - 1, now
    time.sleep(choose.uniform(0, 0.05))
    alive = process.is_alive()
    process.kill()
    process.join()
    assert alive or process.exitcode == 0, told.read_text()
    return alive


@pytest.mark.slow
def test_killed_at_random_moments(photos: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    # Larger photos take longer to look at: some kills come before anything is there.
    for path in photos.rglob("*.png"):
        with Image.open(path) as image:
            image.resize((300, 240)).save(path)
    whole, out, told = tmp_path / "whole", tmp_path / "killed", tmp_path / "told"
    run(command(photos, whole, tiny_checkpoint), told)
    expected = (whole / WEIGHTS).read_bytes()
    work = tmp_path / "killed.training"
    choose = random.Random(0)
    kills = 0
    while kills < KILLS or (work / "plan.json").exists() or not out.exists():
        resume = ["--resume"] if (work / "plan.json").exists() else []
        arguments = command(photos, out, tiny_checkpoint, *resume)
        if kills < KILLS:
            kills += killed(arguments, work, told, choose)
        else:
            run(arguments, told)
        if out.exists() and kills < KILLS:  # done early: once more
            assert (out / WEIGHTS).read_bytes() == expected
            out.rename(tmp_path / f"done-{kills}")
    assert (out / WEIGHTS).read_bytes() == expected
