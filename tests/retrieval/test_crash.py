"""A process killed at any moment leaves a gallery that is whole, with all it had acknowledged."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import crash_worker
import numpy as np
import pytest
from lives import born, interruptible_lookalike
from PIL import Image

from retrieval import Gallery

ROUNDS, KILLS_A_ROUND = 8, 25


@pytest.fixture
def many_photos(tmp_path: Path, draw_photo: Callable[..., Image.Image]) -> Path:
    folder = tmp_path / "photos"
    for colour in ("red", "green", "blue"):
        (folder / colour).mkdir(parents=True)
        for number in range(20):
            draw_photo(colour, number, size=(32, 32)).save(folder / colour / f"{number}.png")
    return folder


def run_and_kill(arguments: tuple[Any, ...], log: Path, choose: random.Random) -> list[Any]:
    """Run a worker, kill it at a random moment, and return what it had told by then."""
    trouble = log.with_suffix(".trouble")
    worker = born(crash_worker.main, *arguments, out=log, trouble=trouble)
    # Sometimes before anything is there, mostly in the midst of the changes.
    wanted, deadline = choose.randrange(8), time.monotonic() + 60
    while log.read_text().count("\n") < wanted and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(choose.uniform(0, 0.1))
    worker.kill()
    worker.join()
    assert trouble.read_text() == ""
    # A line cut short by the kill was never told.
    return [json.loads(line) for line in log.read_text().split("\n")[:-1]]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_killed_at_random_moments(
    seed: int, tmp_path: Path, many_photos: Path, tiny_encoder: Path
) -> None:
    choose = random.Random(seed)
    path = tmp_path / "gallery"
    must: set[str] = set()  # acknowledged as added
    must_not: set[str] = set()  # acknowledged as removed
    acknowledged = 0
    for kill in range(KILLS_A_ROUND):
        arguments = (path, str(tiny_encoder), many_photos, int(f"{seed}{kill}"))
        for event in run_and_kill(arguments, tmp_path / "events", choose):
            if "begin" in event:
                # Whether it happens is open until it is acknowledged.
                must -= set(event["paths"])
                must_not -= set(event["paths"])
                if event["begin"] == "build":
                    must_not.clear()
            else:
                acknowledged += 1
                must |= set(event["added"])
                must_not = (must_not - set(event["added"])) | set(event["removed"])
        if not path.exists():
            continue
        with Gallery.open(path) as gallery:
            report = gallery.check()
            assert report.problems == ()
            held = {item.path for item in gallery.items()}
            assert held >= must
            assert not held & must_not
            assert report.items == report.vectors == len(held)
            for answers in gallery.nearest(gallery.embed(many_photos / "red/0.png")[None], 60):
                assert {one.path for one in answers} == held
    assert path.exists()
    assert acknowledged > KILLS_A_ROUND


@pytest.mark.slow
def test_interrupted_ten_times_a_build_ends_like_any_other(
    tmp_path: Path, tiny_encoder: Path, draw_photo: Callable[..., Image.Image]
) -> None:
    photos, out, said = (tmp_path / name for name in ("photos", "out", "said"))
    for number in range(400):
        place = photos / f"{number % 7}"
        place.mkdir(parents=True, exist_ok=True)
        draw_photo("red", number, size=(640, 480)).save(place / f"{number}.png", compress_level=1)

    def contents(gallery: Path) -> tuple[list[tuple[object, ...]], np.ndarray]:
        with Gallery.open(gallery) as opened:
            assert opened.check().clean
            items = sorted(opened.items(), key=lambda item: item.path)
            queries = np.stack([opened.embed(item.path) for item in items[::40]])
            nearest = opened.nearest(queries, 3)
        shown = [(item.path, item.label, item.content_hash, item.width) for item in items]
        return shown, np.array([[one.distance for one in answer] for answer in nearest])

    def build(gallery: str) -> BaseProcess:
        arguments = ["build-index", photos, "-g", tmp_path / gallery, "--encoder", tiny_encoder]
        return born(interruptible_lookalike, *map(str, arguments), out=out, trouble=said)

    def finish(gallery: str) -> None:
        process = build(gallery)
        process.join()
        assert process.exitcode == 0, said.read_text()

    def stored(database: Path) -> int:
        if not database.exists():
            return 0
        with contextlib.closing(sqlite3.connect(database)) as connection:
            try:
                return int(connection.execute("SELECT count(*) FROM items").fetchone()[0])
            except sqlite3.OperationalError:  # being made
                return 0

    def interrupt(after: float | None) -> None:
        """Press Ctrl-C after so many seconds, or once there are items."""
        process = build("stopped")
        if after is None:
            while not stored(tmp_path / "stopped" / "gallery.db") and process.is_alive():
                time.sleep(0.01)
        else:
            time.sleep(after)
        if process.is_alive():
            assert process.pid is not None
            os.kill(process.pid, signal.SIGINT)
        process.join()

    start = time.monotonic()
    finish("whole")
    took = time.monotonic() - start  # on a busy machine, longer
    # In the midst of it, however slow the machine is.
    interrupt(None)
    assert "goes on from there" in said.read_text()
    choose = random.Random(0)
    for _ in range(9):
        interrupt(choose.uniform(0, took))
    finish("stopped")
    whole, distances = contents(tmp_path / "whole")
    stopped, same = contents(tmp_path / "stopped")
    assert stopped == whole
    np.testing.assert_allclose(same, distances, atol=1e-4)
