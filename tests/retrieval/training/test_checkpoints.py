"""Checkpoints: what was put in comes out, a torn one is told, and none executes anything."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from retrieval.errors import LookalikeError
from retrieval.training.checkpoints import load_checkpoint, save_checkpoint


def state() -> dict[str, Any]:
    import torch

    return {
        "model": {"weight": torch.arange(6.0).view(2, 3)},
        "standing": {"epoch": 2, "best": None, "stopped": False},
        "history": [{"epoch": 1, "loss": 0.1 + 0.2}],
        "batches": [torch.tensor([3, 1], dtype=torch.int64)],
    }


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint.pt", state())
    loaded = load_checkpoint(tmp_path / "checkpoint.pt")
    assert loaded is not None
    assert loaded["model"]["weight"].equal(state()["model"]["weight"])
    assert loaded["batches"][0].equal(state()["batches"][0])
    assert loaded["standing"] == state()["standing"]
    assert loaded["history"] == state()["history"]


def test_without_a_checkpoint_there_is_nothing(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "checkpoint.pt") is None


def test_a_save_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, state())
    before = path.read_bytes()
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(path, {"model": lambda: None})
    assert path.read_bytes() == before
    save_checkpoint(path, state() | {"more": 1})
    assert load_checkpoint(path) is not None
    assert [one.name for one in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_torn_checkpoint_is_told_in_one_sentence(tmp_path: Path, share: float) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, state())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(LookalikeError, match=r"is damaged: delete it, and --resume"):
        load_checkpoint(path)


def test_a_pickle_in_a_checkpoints_place_is_not_executed(tmp_path: Path) -> None:
    path, touched = tmp_path / "checkpoint.pt", tmp_path / "touched"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (touched,)

    path.write_bytes(pickle.dumps(Trap(), protocol=2))
    with pytest.raises(LookalikeError, match="is damaged"):
        load_checkpoint(path)
    assert not touched.exists()
