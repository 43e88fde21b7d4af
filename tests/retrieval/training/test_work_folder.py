"""A run begins, goes on and ends where nothing is in the way, and only as it was begun."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from retrieval.errors import LookalikeError
from retrieval.training.learner import Shape
from retrieval.training.planning import Plan
from retrieval.training.recipe import Recipe
from retrieval.training.work_folder import (
    KEPT,
    PLAN,
    begin,
    can_resume,
    clear,
    is_finished,
    require_places,
    work_folder,
)

GIVEN = {"asked": {"epochs": 3, "hard_every": 0}, "photos": "p", "network": "n"}


def plan(cache_bytes: int = 10) -> Plan:
    return Plan(
        Shape("head", 0, 8, 0.5, 0.2, "frozen"),
        Recipe(epochs=3),
        rehearsal=True,
        whole=9,
        photos=9,
        labels=3,
        train=6,
        known=2,
        strangers=1,
        stranger_labels=1,
        steps=3,
        cache_bytes=cache_bytes,
        seconds=0.1 + 0.2,
        reasons=("because",),
    )


def not_again() -> Plan:
    raise AssertionError("a run that goes on keeps its plan")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "encoder"


def test_a_run_that_goes_on_has_the_plan_that_it_began_with(out: Path) -> None:
    require_places(out, resume=False)
    assert begin(out, GIVEN, plan) == plan()
    assert can_resume(out)
    require_places(out, resume=True)
    assert begin(out, GIVEN, not_again) == plan()
    assert [one.name for one in work_folder(out).iterdir()] == [PLAN]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"asked": {"epochs": 4, "hard_every": 0}}, "was begun with --epochs 3, not 4"),
        ({"asked": {"epochs": 3, "hard_every": 1}}, "was begun with --hard-every 0, not 1"),
        ({"photos": "q"}, "The photos are not those"),
        ({"network": "m"}, "The weights to begin with are not those"),
    ],
)
def test_a_run_does_not_go_on_otherwise(out: Path, other: dict[str, Any], said: str) -> None:
    begin(out, GIVEN, plan)
    before = (work_folder(out) / PLAN).read_bytes()
    with pytest.raises(LookalikeError, match=said):
        begin(out, GIVEN | other, not_again)
    assert (work_folder(out) / PLAN).read_bytes() == before


def test_a_disk_too_small_for_the_cache_is_told_before_it_is_full(out: Path) -> None:
    with pytest.raises(LookalikeError, match=r"The cache takes 1,000,000,000,000 MB, and .* free"):
        begin(out, GIVEN, lambda: plan(10**18))
    assert not work_folder(out).exists()


def test_what_is_there_is_not_overwritten(out: Path) -> None:
    with pytest.raises(LookalikeError, match="There is no run to go on with"):
        require_places(out, resume=True)
    out.mkdir()
    require_places(out, resume=False)  # an empty folder is in nobody's way
    (out / "mine").touch()
    for resume in (False, True):
        with pytest.raises(LookalikeError, match="exists and is not empty"):
            require_places(out, resume=resume)
    shutil.rmtree(out)
    out.write_text("a file")
    with pytest.raises(LookalikeError, match="exists and is not empty"):
        require_places(out, resume=False)
    with pytest.raises(LookalikeError, match="can't be made in"):
        require_places(out.parent / "nowhere" / "encoder", resume=False)


def test_a_run_that_was_not_finished_is_not_begun_again(out: Path) -> None:
    begin(out, GIVEN, plan)
    with pytest.raises(LookalikeError, match="go on with --resume, or delete it"):
        require_places(out, resume=False)


def test_a_run_killed_before_its_plan_was_there_begins_again(out: Path) -> None:
    work_folder(out).mkdir()
    (work_folder(out) / "plan.part").write_text("{")
    require_places(out, resume=False)
    assert begin(out, GIVEN, plan) == plan()


def test_somebodys_own_folder_is_left_alone(out: Path) -> None:
    work_folder(out).mkdir()
    (work_folder(out) / "mine").touch()
    with pytest.raises(LookalikeError, match="is in the way"):
        require_places(out, resume=False)


def test_a_run_killed_before_it_was_cleared_away_is_finished(out: Path) -> None:
    begin(out, GIVEN, plan)
    (work_folder(out) / "cache").mkdir()
    assert not is_finished(out)
    (out / KEPT).mkdir(parents=True)
    shutil.copyfile(work_folder(out) / PLAN, out / KEPT / PLAN)
    assert is_finished(out)
    require_places(out, resume=True)
    clear(out)
    assert not work_folder(out).exists()
    # Another encoder in the place is not what this run made.
    begin(out, GIVEN, plan)
    stored = json.loads((out / KEPT / PLAN).read_text())
    (out / KEPT / PLAN).write_text(json.dumps(stored | {"photos": "q"}))
    with pytest.raises(LookalikeError, match="exists and is not empty"):
        require_places(out, resume=True)
