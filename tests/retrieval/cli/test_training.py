"""`train`: what it prints, what it refuses, and that it can be stopped and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from retrieval.cli import training
from retrieval.training.losses import LOSSES
from retrieval.training.parts import Watcher
from retrieval.training.running import train
from retrieval.training.trainer import Moment
from retrieval.training.wishes import Wishes

Run = Callable[..., Result]
Refusal = Callable[..., str]
Contents = Callable[[Path], dict[str, str]]
_PATIENCE = 300

# A process started in the background may have been told to ignore the signal.
_LOOKALIKE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from retrieval.cli import main
main(prog_name="lookalike")
"""


@pytest.fixture
def asked(photos: Path, tiny_checkpoint: Path, tmp_path: Path) -> list[object]:
    """The shortest training there is, of the drawn photos to `tmp_path / "mine"`."""
    return [
        *("train", photos, "--out", tmp_path / "mine"),
        *("--encoder", "timm:test_efficientnet", "--weights", tiny_checkpoint),
        *("--mode", "head", "--epochs", 1, "--views", 1, "--batch", 8, "--dim", 8),
    ]


class StoppedError(Exception):
    pass


class Stopping(Watcher):
    def stepped(self, _part: str, _moment: Moment) -> None:
        raise StoppedError


@pytest.fixture
def unfinished(asked: list[object], photos: Path, tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """The folder of a run like `asked` that was stopped at its first step."""
    wishes = Wishes(
        "timm:test_efficientnet", tiny_checkpoint, mode="head", epochs=1, views=1, batch=8, dim=8
    )
    with pytest.raises(StoppedError):
        train(photos, tmp_path / "mine", wishes, watcher=Stopping())
    return tmp_path / "mine.training"


def test_every_loss_can_be_asked_for() -> None:
    assert set(training._LOSSES) == set(LOSSES)


def test_it_prints_the_plan_and_what_came_of_it(
    run: Run, asked: list[object], photos: Path, tmp_path: Path
) -> None:
    (photos / "red" / "broken.png").write_bytes(b"no picture")
    result = run(*asked)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.startswith("1 photo could not be read:\n")
    lines = result.stdout.splitlines()
    assert lines[0] == "15 photos of 3 labels"
    assert lines[1].startswith("rehearsal: 8 photos train, 2 others of their labels and 5 strang")
    assert lines[2].startswith("mode head, 1 epoch of arcface in batches of 8, float32; 3 steps")
    assert lines[3] == "cache: 0 MB on disk until it is done"
    assert lines[4] == "about 1 minute"
    assert lines[5] == "photos kept back, by the rehearsal:"
    assert [line.split()[0] for line in lines[6:9]] == ["recall@1", "before", "after"]
    assert lines[9].startswith(f"{tmp_path / 'mine'}: dim 264, 1 epoch, ")
    assert lines[10] == (
        "no threshold travels with it: 5 strangers of 1 label are too few to tune one"
    )
    made = run("build-index", photos / "red", "-g", tmp_path / "g", "--encoder", tmp_path / "mine")
    assert made.exit_code == 0, made.stderr


def test_json_holds_what_was_done(
    ask_json: Callable[..., list[dict[str, Any]]], asked: list[object], tmp_path: Path
) -> None:
    (told,) = ask_json(*asked)
    assert list(told) == [
        *("path", "fingerprint", "dim", "plan", "epochs", "before", "after", "threshold"),
        *("failed", "seconds"),
    ]
    assert told["path"] == str(tmp_path / "mine")
    assert told["plan"]["shape"]["mode"] == "head"
    assert told["threshold"] is None


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    run: Run, asked: list[object], photos: Path, tmp_path: Path, contents: Contents
) -> None:
    (photos / "red" / "broken.png").write_bytes(b"no picture")
    before = contents(tmp_path)
    result = run(*asked, "--dry-run")
    assert result.exit_code == 0
    assert "mode head, 1 epoch of arcface" in result.stdout
    as_json = run(*asked, "--dry-run", "--json")
    plan = json.loads(as_json.stdout)
    assert list(plan) == [
        *("shape", "recipe", "rehearsal", "whole", "photos", "labels", "train", "known"),
        *("strangers", "stranger_labels", "steps", "cache_bytes", "seconds", "reasons"),
    ]
    assert plan["photos"] == plan["train"] + plan["known"] + plan["strangers"] == 15
    assert "broken.png" in result.stderr
    assert as_json.stderr == result.stderr
    assert contents(tmp_path) == before


def test_a_run_that_was_stopped_goes_on(
    run: Run, asked: list[object], unfinished: Path, tmp_path: Path
) -> None:
    assert (unfinished / "plan.json").is_file()
    result = run(*asked, "--resume")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "mine" / "encoder.json").is_file()
    assert not unfinished.exists()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ((), "go on with --resume, or delete it"),
        (("--resume", "--epochs", 2), "was begun with --epochs 1, not 2"),
        (("--resume", "--loss", "triplet"), "was begun with --loss arcface, not triplet"),
    ],
)
def test_a_run_goes_on_as_it_was_begun_or_not_at_all(
    other: tuple[object, ...],
    said: str,
    refusal: Refusal,
    asked: list[object],
    unfinished: Path,
    contents: Contents,
) -> None:
    before = contents(unfinished)
    assert said in refusal(*asked, *other)
    assert contents(unfinished) == before


def test_a_run_does_not_go_on_with_other_photos(
    refusal: Refusal, asked: list[object], unfinished: Path, photos: Path, contents: Contents
) -> None:
    (photos / "red" / "0.png").write_bytes((photos / "red" / "1.png").read_bytes())
    before = contents(unfinished)
    assert "The photos are not those" in refusal(*asked, "--resume")
    assert contents(unfinished) == before


REFUSED: dict[str, tuple[tuple[object, ...], str]] = {
    "nothing to go on with": (("--resume",), "There is no run to go on with"),
    "unknown loss option": (("--loss-option", "marginn=1"), "has no option 'marginn'"),
    "impossible value": (("--loss-option", "margin=7"), "margin of the loss arcface must be"),
    "weights without timm": (("--encoder", "efficientnet_lite0"), "--weights goes with timm:NAME"),
    "two ways to begin": (("--from-scratch",), "--from-scratch takes no --weights"),
    "an option not heeded": (("--stage", 1), "--stage goes with --mode partial"),
    "a small batch": (("--batch", 2), "--batch 2 is too small"),
    "nothing to mine": (("--hard-every", 1), "--hard-every goes with losses of pairs"),
    "sixteen bits": (("--precision", "float16"), "float16 needs a GPU"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_done_is_refused_and_leaves_nothing_behind(
    case: str, refusal: Refusal, asked: list[object], tmp_path: Path, contents: Contents
) -> None:
    other, said = REFUSED[case]
    before = contents(tmp_path)
    assert said in refusal(*asked, *other)
    assert contents(tmp_path) == before
    assert not (tmp_path / "mine").exists()
    assert not (tmp_path / "mine.training").exists()


def test_siamese_has_nothing_to_keep(refusal: Refusal, photos: Path, tmp_path: Path) -> None:
    arguments = ("train", photos, "--out", tmp_path / "mine", "--encoder", "siamese")
    assert "say --mode full" in refusal(*arguments, "--mode", "head")
    assert [one.name for one in tmp_path.iterdir()] == ["photos"]


def test_an_encoder_that_is_there_is_not_overwritten(
    refusal: Refusal, asked: list[object], tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "encoder.json").write_text("{}")
    assert "exists and is not empty" in refusal(*asked)
    assert (tmp_path / "mine" / "encoder.json").read_text() == "{}"
    assert not (tmp_path / "mine.training").exists()


def test_one_label_teaches_nothing(refusal: Refusal, photos: Path, tmp_path: Path) -> None:
    said = refusal("train", photos / "red", "--out", tmp_path / "mine")
    assert "shows 0 labels to train on" in said  # photos that lie in the folder itself have none
    (tmp_path / "one.csv").write_text("path,label\nphotos/red/0.png,a\nphotos/red/1.png,a\n")
    said = refusal("train", tmp_path / "one.csv", "--out", tmp_path / "mine")
    assert "shows 1 labels to train on" in said
    assert not (tmp_path / "mine.training").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--out says where the encoder goes"),
        (("--loss-option", "margin"), "'margin' is no option: say NAME=VALUE"),
        (("--loss", "arcfaces"), "Invalid value for '--loss'"),
    ],
)
def test_a_wrong_use_is_told(arguments: tuple[str, ...], said: str, run: Run, photos: Path) -> None:
    result = run("train", photos, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_ctrl_c_says_how_to_go_on(asked: list[object], tmp_path: Path) -> None:
    asked[asked.index("--epochs") + 1] = 100_000
    process = subprocess.Popen(
        [sys.executable, "-c", _LOOKALIKE, *map(str, asked)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + _PATIENCE
        while not (tmp_path / "mine.training" / "rehearsal" / "checkpoint.pt").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=_PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, stderr
    assert stderr == "Stopped. The same command with --resume goes on from here.\n"
    assert not (tmp_path / "mine").exists()
