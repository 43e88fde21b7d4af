"""A build that is stopped says so, and the next one goes on from there."""

from __future__ import annotations

import io
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

# A run stores its photos by the 256: so many small ones, and some of the large ones behind them,
# are embedded before anything is stored.
_SMALL, _LARGE = 300, 60
_PATIENCE = 120

# A process started in the background may have been told to ignore the signal.
_LOOKALIKE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from retrieval.cli import main
main(prog_name="lookalike")
"""


def write_photos(folder: Path) -> None:
    """Write small photos and, later in the alphabet, some that take long to decode."""
    folder.mkdir()
    for name, size, count in (("a", 16, _SMALL), ("z", 2500, _LARGE)):
        data = io.BytesIO()
        Image.new("RGB", (size, size), "teal").save(data, "PNG", compress_level=1)
        for number in range(count):
            # What follows the end of a picture makes it a file of its own.
            path = folder / f"{name}{number:04}.png"
            path.write_bytes(data.getvalue() + number.to_bytes(2, "big"))


def stored(gallery: Path) -> int:
    if not (gallery / "gallery.db").is_file():
        return 0
    with closing(sqlite3.connect(gallery / "gallery.db", timeout=30)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM items").fetchone()
    return int(count)


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_a_stopped_build_goes_on_where_it_was(
    ask_json: Callable[..., list[dict[str, Any]]], tiny_encoder: Path, tmp_path: Path
) -> None:
    photos, gallery = tmp_path / "photos", tmp_path / "gallery"
    write_photos(photos)
    arguments = ["build-index", photos, "-g", gallery, "--encoder", tiny_encoder]
    process = subprocess.Popen(
        [sys.executable, "-c", _LOOKALIKE, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + _PATIENCE
        while not stored(gallery):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=_PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, stderr
    assert stdout == ""
    told = re.fullmatch(
        rf"Stopped\. {re.escape(str(gallery))} holds (\d+) items?; "
        r"the same command goes on from there\.\n",
        stderr,
    )
    assert told, stderr
    done = int(told[1])
    assert 0 < done < _SMALL + _LARGE
    assert done == stored(gallery)
    (report,) = ask_json(*arguments)
    assert (report["unchanged"], report["added"]) == (done, _SMALL + _LARGE - done)
    (checked,) = ask_json("check", "-g", gallery)
    assert checked["problems"] == []
    assert checked["items"] == _SMALL + _LARGE
