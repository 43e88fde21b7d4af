"""int8: fitted to the photos at hand, in a gallery of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from retrieval import Gallery
from retrieval.encoders import Artifact
from retrieval.encoders.quantising import quantise
from retrieval.errors import EncoderError

# NNCF and what it imports warn of their own future: here they run outside, as a user runs them.
BUILD = """
import socket, sys

def refuse(*_):
    raise AssertionError("something tried the network")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from retrieval.cli import main
main()
"""


def lookalike(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BUILD, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_gallery_in_int8_answers_like_one_in_float32(
    photos: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    decisions = {}
    for precision in ("float32", "int8"):
        gallery = tmp_path / precision
        built = lookalike(
            "build-index",
            photos,
            "-g",
            gallery,
            "--encoder",
            tiny_encoder,
            "--precision",
            precision,
        )
        assert built.returncode == 0, built.stderr
        assert "telemetry" not in built.stderr
        asked = lookalike("query", photos, "-g", gallery, "--threshold", 0.2, "--json")
        assert asked.returncode == 0, asked.stderr
        answers = [json.loads(line) for line in asked.stdout.splitlines()]
        decisions[precision] = [(answer["decision"], answer["label"]) for answer in answers]
        assert all(answer["distance"] < 1e-3 for answer in answers)  # each is its own nearest
        with Gallery.open(gallery) as opened:
            assert opened.encoder.precision == precision
            assert opened.check().clean
    assert decisions["int8"] == decisions["float32"]
    # The encoder of an int8 gallery is an artifact like any other.
    copied = tmp_path / "copied"
    assert not lookalike(
        "build-index", photos, "-g", copied, "--encoder", tmp_path / "int8" / "encoder",
        "--precision", "int8",
    ).returncode  # fmt: skip


def test_too_few_photos_are_refused_and_leave_nothing(
    tmp_path: Path, tiny_encoder: Path, photos: Path
) -> None:
    few = sorted(photos.rglob("*.png"))[:9]
    refused = lookalike(
        "build-index", few[0].parent, "-g", tmp_path / "gallery", "--encoder", tiny_encoder,
        "--precision", "int8",
    )  # fmt: skip
    assert refused.returncode == 2
    assert "needs 10 that can be read; there are 5" in refused.stderr
    assert not (tmp_path / "gallery").exists()


def test_without_nncf_the_sentence_says_what_to_install(
    tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(EncoderError, match=r"pip install 'lookalike\[int8\]'"):
        quantise(Artifact.load(tiny_encoder), [])
