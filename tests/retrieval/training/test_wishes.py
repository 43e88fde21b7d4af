"""What can't be done is refused before anything is."""

from __future__ import annotations

from typing import Any

import pytest

from retrieval.errors import LookalikeError
from retrieval.training.learner import Mode
from retrieval.training.wishes import Wishes, require_possible, require_use


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"loss": "arcfac"}, "There is no loss 'arcfac'"),
        ({"loss_options": {"marginn": 0.1}}, "has no option 'marginn'"),
        ({"loss_options": {"margin": 9}}, "margin of the loss arcface must be"),
        ({"batch": 3}, "--batch 3 is too small for the loss arcface: say 4 or more"),
        ({"batch": 7, "loss": "triplet"}, "--batch 7 is too small for the loss triplet: say 8"),
        ({"hard_every": 2}, "--hard-every goes with losses of pairs"),
        ({"device": "cuda"}, "torch finds no device 'cuda'"),
        ({"precision": "float16"}, "float16 needs a GPU"),
    ],
)
def test_what_no_photos_could_change_is_refused(wishes: dict[str, Any], said: str) -> None:
    import torch

    if wishes.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(LookalikeError, match=said):
        require_possible(Wishes(**wishes))


@pytest.mark.parametrize(
    "wishes",
    [
        {},
        {"batch": 4},
        {"loss": "triplet", "batch": 8, "hard_every": 1},
        {"loss": "arcface+open-set", "hard_every": 3},
        {"loss_options": {"margin": 0.2}},
        {"precision": "bfloat16"},
    ],
)
def test_what_can_be_done_is_not(wishes: dict[str, Any]) -> None:
    require_possible(Wishes(**wishes))


@pytest.mark.parametrize(
    ("option", "mode"),
    [("stage", "head"), ("stage", "full"), ("share", "full"), ("views", "full")],
)
def test_an_option_that_the_mode_would_not_heed_is_refused(option: str, mode: Mode) -> None:
    with pytest.raises(LookalikeError, match=f"--{option} goes with --mode .*, and this is {mode}"):
        require_use(Wishes(**{option: 1}), mode)


def test_an_option_that_the_mode_heeds_is_not() -> None:
    require_use(Wishes(stage=0, share=0.5, views=1), "partial")
    require_use(Wishes(share=0.5, views=1), "head")
    require_use(Wishes(), "full")
