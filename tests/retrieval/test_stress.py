"""Many processes at work on one gallery, one killed every second: nothing wrong, nothing lost.

Takes ten seconds here. `LOOKALIKE_STRESS_SECONDS=120` makes it two minutes, and so does
`python tests/retrieval/stress.py --seconds 120`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SECONDS = float(os.environ.get("LOOKALIKE_STRESS_SECONDS", "10"))


@pytest.mark.slow
def test_under_stress_no_answer_is_wrong_and_no_write_is_lost() -> None:
    command = [sys.executable, str(HERE / "stress.py"), "--seconds", str(SECONDS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["kills"] >= SECONDS / 2
    for what in ("changes", "answers", "of_several_moments", "generations", "purged"):
        assert told[what] >= SECONDS, what


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the stress test's model."""
    monkeypatch.syspath_prepend(HERE)
    import stress_model

    return stress_model


DIM = 16


@pytest.fixture
def changes(model: Any) -> list[Any]:
    """A short history: twenty items come, three go, four get another label, ten more come."""
    labels = ["tea", "milk", None, "rice"]
    first = {one: (f"/a/{one}", labels[one % 4]) for one in range(1, 21)}
    more = {one: (f"/b/{one}", labels[one % 4]) for one in range(21, 31)}
    return [
        model.Change(2, first, (), {}),
        model.Change(3, {}, (2, 5, 11), {}),
        model.Change(6, {}, (), dict.fromkeys((1, 3, 4, 6), "salt")),
        model.Change(7, more, (), {}),
    ]


def right_answer(model: Any, changes: list[Any], seq: int, query: int = 0) -> Any:
    """Return what a gallery answers at a sequence number."""
    state = model.Model(DIM)
    for change in changes:
        if change.seq <= seq:
            state.apply(change)
    nearest = state.nearest(query)
    best: dict[object, Any] = {}
    for one in nearest:
        best.setdefault(one[1] or one[0], one)
    identities = list(best.values())[: model.IDENTITIES]
    return model.Answer(seq, seq, (query,), [nearest[: model.K]], [identities], len(nearest))


def wrong(model: Any, changes: list[Any], *answers: Any) -> list[Any]:
    found: list[Any] = model.wrong_answers(model.Model(DIM), changes, list(answers))
    return found


def test_what_was_right_at_a_moment_it_may_speak_of_is_right(
    model: Any, changes: list[Any]
) -> None:
    answers = [
        replace(right_answer(model, changes, seq, query), first=first, last=last)
        for query in range(4)
        for first, seq, last in ((0, 0, 1), (2, 2, 2), (1, 2, 9), (0, 3, 5), (4, 5, 5), (7, 9, 99))
    ]
    assert wrong(model, changes, *answers) == []


def test_what_was_right_before_or_after_is_wrong(model: Any, changes: list[Any]) -> None:
    old = replace(right_answer(model, changes, 2), first=3, last=9)
    early = replace(right_answer(model, changes, 7), first=2, last=6)
    of_labels = replace(right_answer(model, changes, 5), first=6, last=6)
    answers = [old, early, of_labels]
    found = wrong(model, changes, *answers)
    assert sorted(found, key=answers.index) == answers


def test_every_part_of_an_answer_counts(model: Any, changes: list[Any]) -> None:
    right = right_answer(model, changes, 7)
    (items,), (identities,) = right.items, right.identities
    (item_id, label, distance), *others = items
    answers = [
        replace(right, count=right.count - 1),
        replace(right, items=[items[:-1]]),
        replace(right, items=[items[1:] + items[:1]]),
        replace(right, items=[[(item_id, "another", distance), *others]]),
        replace(right, items=[[(item_id, label, distance + 1e-6), *others]]),
        replace(right, items=[[(99, label, distance), *others]]),
        replace(right, identities=[identities[1:]]),
    ]
    assert wrong(model, changes, *answers, right) == answers
