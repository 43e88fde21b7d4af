"""`reembed` and `compare`, as they are typed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from retrieval.encoders import Artifact

Run = Callable[..., Result]
Ask = Callable[..., list[dict[str, Any]]]

_LOOKALIKE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from retrieval import new_vectors
embed = new_vectors.embed
def slow(*args, **kwargs):  # stops after four photos until it is interrupted
    for number, one in enumerate(embed(*args, **kwargs)):
        if number == 4:
            print("four", file=sys.stderr, flush=True)
            signal.pause()
        yield one
new_vectors.embed = slow
new_vectors._COMMIT_PHOTOS, new_vectors._COMMIT_SECONDS = 2, 1e9
from retrieval.cli import main
main(prog_name="lookalike")
"""


def test_reembed_says_what_it_did(
    run: Run, ask_json: Ask, gallery_path: Path, second_encoder: Path, many_photos: Path
) -> None:
    run("add", many_photos, "-g", gallery_path)
    result = run("reembed", "-g", gallery_path, "--encoder", second_encoder)
    assert result.exit_code == 0
    assert re.fullmatch(
        rf"21 embedded\n{gallery_path}: 21 items, timm:test_efficientnet\n"
        r"threshold \d\.\d{4} \(nearest, fpir=0\.05, tuned on gallery\)\n",
        result.stdout,
    )
    again = run("reembed", "-g", gallery_path, "--encoder", "current")
    assert again.stdout == f"{gallery_path} belongs to timm:test_efficientnet: nothing to embed\n"
    (report,) = ask_json("reembed", "-g", gallery_path, "--encoder", second_encoder)
    (info,) = ask_json("info", "-g", gallery_path)
    assert report == {
        "encoder": "timm:test_efficientnet",
        "fingerprint": Artifact.load(second_encoder).spec.fingerprint,
        "dim": 256,
        "switched": False,
        "items": 21,
        "embedded": 0,
        "kept": 0,
        "dropped": [],
        "threshold": info["threshold"],
    }


def test_reembed_takes_weights_and_precision(
    run: Run, ask_json: Ask, gallery_path: Path, second_encoder: Path
) -> None:
    weights = second_encoder.parent / "second.safetensors"
    arguments = ("--encoder", "timm:test_efficientnet", "--weights", weights)
    (report,) = ask_json("reembed", "-g", gallery_path, *arguments, "--precision", "float32")
    assert report["fingerprint"] == Artifact.load(second_encoder).spec.fingerprint
    (info,) = ask_json("info", "-g", gallery_path)
    assert info["precision"] == "float32"


def test_reembed_refuses_in_one_sentence_and_changes_nothing(
    refusal: Callable[..., str],
    contents: Callable[[Path], dict[str, str]],
    gallery_path: Path,
    photos: Path,
    second_encoder: Path,
    tmp_path: Path,
) -> None:
    arguments = ("reembed", "-g", gallery_path, "--encoder")
    before = contents(gallery_path)
    assert "leave it out" in refusal(*arguments, second_encoder, "--weights", tmp_path / "w")
    assert "in two precisions" in refusal(*arguments, "current", "--precision", "float32")
    (photos / "red" / "0.png").unlink()
    told = refusal(*arguments, second_encoder)
    assert told.startswith(f"1 of 15 items can't be embedded anew, the first {photos}/red/0.png")
    assert "--drop-missing" in told
    assert contents(gallery_path) == before


def test_what_is_dropped_is_told(
    run: Run, gallery_path: Path, photos: Path, second_encoder: Path
) -> None:
    (photos / "red" / "0.png").unlink()
    result = run("reembed", "-g", gallery_path, "--encoder", second_encoder, "--drop-missing")
    assert result.exit_code == 0
    assert result.stdout.startswith("14 embedded, 1 item dropped\n")
    reason = "can't be read: No such file or directory"
    assert result.stderr == f"dropped:\n  {photos}/red/0.png: {reason}\n"
    assert f"red/0.png: {reason}" in run("list", "-g", gallery_path, "--failures").stdout


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_stopped_it_says_so_and_goes_on(
    ask_json: Ask, gallery_path: Path, second_encoder: Path
) -> None:
    arguments = ["reembed", "-g", str(gallery_path), "--encoder", str(second_encoder)]
    process = subprocess.Popen(
        [sys.executable, "-c", _LOOKALIKE, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "four\n"
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stdout) == (130, ""), stderr
    said = "answers as before; the same command goes on from there."
    assert stderr == f"Stopped. {gallery_path} {said}\n"
    (report,) = ask_json(*arguments)
    assert (report["kept"], report["embedded"]) == (4, 11)


def test_a_threshold_that_came_with_the_encoder_is_told_as_such(
    run: Run, gallery_path: Path, second_encoder: Path, tmp_path: Path
) -> None:
    path = Artifact.load(second_encoder).copy_to(tmp_path / "brought").folder / "encoder.json"
    described = json.loads(path.read_text())
    brought = {"value": 0.25, "rule": "nearest", "objective": "fpir=0.05"}
    described["provenance"]["threshold"] = brought
    path.write_text(json.dumps(described))
    result = run("reembed", "-g", gallery_path, "--encoder", path.parent)
    assert "threshold 0.2500 (nearest, fpir=0.05, came with the encoder)\n" in result.stdout
    told = run("info", "-g", gallery_path).stdout
    assert "threshold  0.2500 (nearest), came with the encoder for fpir=0.05 at 2" in told


def test_compare_prints_a_table_and_writes_nothing(
    run: Run,
    ask_json: Ask,
    contents: Callable[[Path], dict[str, str]],
    gallery_path: Path,
    photos: Path,
    second_encoder: Path,
) -> None:
    before = contents(gallery_path)
    result = run("compare", "-g", gallery_path, "--encoder", second_encoder)
    assert result.exit_code == 0
    said, header, current, other, *_ = result.stdout.splitlines()
    assert said.startswith("15 items of 3 labels, 15 queries, 15 of them mated; DIR by nearest")
    assert header.split()[:6] == ["encoder", "dim", "recall@1", "recall@5", "recall@10", "MAP@R"]
    assert current.startswith("  current (timm:test_efficientnet)")
    assert other.startswith(f"  {second_encoder}")
    (found,) = ask_json(
        *("compare", "-g", gallery_path, "--encoder", second_encoder, "--encoder", "current"),
        *("--queries", photos, "--limit", 6, "--seed", 1),
    )
    assert (found["items"], found["of_items"], found["labels"], found["seed"]) == (6, 15, 3, 1)
    assert [one["asked"] for one in found["encoders"]] == [str(second_encoder), "current"]
    assert found["encoders"][1]["photos_per_second"] is None
    assert contents(gallery_path) == before
