"""The loop: it learns, keeps the best, stops in time, and goes on to the very same end."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.encoders.networks import Network
from retrieval.errors import LookalikeError
from retrieval.training import trainer as trainer_module
from retrieval.training.learner import Learner, Shape
from retrieval.training.losses import make_loss
from retrieval.training.recipe import Recipe
from retrieval.training.trainer import Judge, Moment, Trainer

if TYPE_CHECKING:
    from torch import Tensor

Make = Callable[..., Network]
CODES = np.repeat(np.arange(3), 5)


class Drawn:
    """Inputs drawn from a photo's number and a view's: a label's resemble each other."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def take(self, places: Sequence[int], numbers: Sequence[int]) -> Tensor:
        import torch

        made = [self._one(*one) for one in zip(places, numbers, strict=True)]
        return torch.from_numpy(np.stack(made).astype(np.float32))

    def _one(self, place: int, number: int) -> NDArray[np.float64]:
        label = np.random.default_rng(int(CODES[place])).normal(size=self.shape)
        return label + np.random.default_rng([place, number + 1]).normal(size=self.shape)


HEAD = Shape("head", 0, 8, 0.5, 0.2, "frozen")
PARTIAL = Shape("partial", 2, 8, 0.5, 0.2, "frozen")
SCRATCH = Shape("full", 0, 8, 1.0, 0.2, "learnt")
SMALL = Recipe(epochs=3, batch=8, views=4)


@pytest.fixture
def make(tiny_network: Make, tmp_path: Path) -> Callable[..., Trainer]:
    """A function that makes a trainer, whose checkpoint is in a folder of that name."""
    network = tiny_network()
    numbers = itertools.count()

    def make(
        recipe: Recipe = SMALL,
        shape: Shape = HEAD,
        folder: str | None = None,
        kind: type[Trainer] = Trainer,
    ) -> Trainer:
        import torch

        place = tmp_path / (folder or f"run-{next(numbers)}")
        place.mkdir(exist_ok=True)
        learner = Learner(network, shape, seed=recipe.seed)
        size = network.preprocessing.size
        seen: Any = torch.zeros(1, 3, size, size)
        if learner.frozen is not None:
            with torch.inference_mode():
                seen = learner.frozen(seen)
        loss = make_loss(
            recipe.loss, dim=learner.dim, classes=3, seed=recipe.seed, **recipe.loss_options
        )
        inputs = Drawn(tuple(seen.shape[1:]))
        return kind(learner, loss, inputs, np.arange(15), CODES, recipe, place)

    return make


def quiet(_moment: Moment) -> None:
    pass


def same(one: Any, other: Any) -> bool:
    """Whether two states are equal, bit for bit."""
    import torch

    if isinstance(one, torch.Tensor):
        return bool(one.dtype == other.dtype and one.equal(other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def ending(trainer: Trainer) -> dict[str, Any]:
    """All that a run leaves: its last checkpoint, and the learner as it is left."""
    import torch

    checkpoint = torch.load(trainer._path, weights_only=True)
    return {"checkpoint": checkpoint, "left": trainer._learner.trained.state_dict()}


class StoppedError(Exception):
    pass


def stop_at(number: int) -> Callable[[Moment], None]:
    """Raise when told for the nth time, from 1."""
    told = itertools.count(1)

    def tell(_moment: Moment) -> None:
        if next(told) == number:
            raise StoppedError

    return tell


def scripted(figures: Iterable[float]) -> Judge:
    following = iter(figures)
    return lambda: {"figure": next(following)}


KINDS = {
    "head": (SMALL, HEAD),
    "a mined loss": (
        replace(SMALL, loss="triplet", photos_per_label=2, batch=6, hard_every=1),
        HEAD,
    ),
    "mixed maps": (replace(SMALL, epochs=2, mix=0.7), PARTIAL),
    "bfloat16, own proxies": (
        replace(SMALL, epochs=2, loss="subcenter-arcface", precision="bfloat16"),
        PARTIAL,
    ),
    "all of it": (replace(SMALL, epochs=2, views=0), SCRATCH),
}


@pytest.mark.parametrize("often", [False, True], ids=["by epoch", "by step"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_stopped_at_any_step_ends_as_one_that_was_not(
    kind: str, often: bool, make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, shape = KINDS[kind]
    # Told what it is, not how it was come by.
    figures = [0.5, 0.7, 0.2]

    def judge(trainer: Trainer) -> Judge:
        return lambda: {"figure": figures[len(trainer.history)]}

    whole = make(recipe, shape)
    best = whole.run(tell=quiet, judge=judge(whole), judge_every=1)
    expected = ending(whole)
    steps = whole._steps
    assert steps == recipe.epochs * len(whole._batches(0)) > 2
    if often:
        monkeypatch.setattr(trainer_module, "_CHECKPOINT_SECONDS", 0.0)
    for step in range(1, steps + 1):
        folder = f"stopped-{step}"
        stopped = make(recipe, shape, folder)
        with pytest.raises(StoppedError):
            stopped.run(tell=stop_at(step), judge=judge(stopped), judge_every=1)
        resumed = make(recipe, shape, folder)
        moments: list[int] = []
        again = resumed.run(
            tell=lambda moment, moments=moments: moments.append(moment.step),  # type: ignore[misc]
            judge=judge(resumed),
            judge_every=1,
        )
        assert again == best
        assert same(ending(resumed), expected)
        # It goes on from the last checkpoint, and not from the beginning.
        per_epoch = steps // recipe.epochs
        assert moments[0] == (step if often else (step - 1) // per_epoch * per_epoch + 1)


def test_a_run_stopped_again_and_again_ends_as_one_that_was_not(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(SMALL, loss="triplet", photos_per_label=2, batch=6, hard_every=2, epochs=4)
    whole = make(recipe)
    whole.run(tell=quiet)
    monkeypatch.setattr(trainer_module, "_CHECKPOINT_SECONDS", 0.0)
    stops = 0
    while True:
        trainer = make(recipe, folder="stopped")
        try:
            trainer.run(tell=stop_at(2))
        except StoppedError:
            stops += 1
        else:
            break
    assert stops == whole._steps - 1
    assert same(ending(trainer), ending(whole))


def test_a_run_that_is_done_takes_no_more_steps(make: Callable[..., Trainer]) -> None:
    make(folder="done").run(tell=quiet, judge=scripted([0.3, 0.9, 0.1]), judge_every=1)
    again = make(folder="done")
    assert again.run(tell=stop_at(1), judge=scripted([]), judge_every=1) == 2


def test_the_loss_falls_and_the_labels_come_apart(make: Callable[..., Trainer]) -> None:
    def nearest(trainer: Trainer) -> float:
        vectors = trainer.embed(np.arange(15))
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
        near = vectors @ vectors.T - 2 * np.eye(15)
        return float((CODES[near.argmax(axis=1)] == CODES).mean())

    trainer = make(replace(SMALL, epochs=12), PARTIAL)
    before = nearest(trainer)
    trainer.run(tell=quiet)
    losses = [row["loss"] for row in trainer.history]
    assert losses[-1] < 0.5 * losses[0]
    assert before < 0.6
    assert nearest(trainer) > before + 0.2


def test_the_learner_is_left_as_it_was_when_it_judged_best(make: Callable[..., Trainer]) -> None:
    trainer = make(replace(SMALL, epochs=4))
    seen: list[NDArray[np.float32]] = []
    figures = iter([0.2, 0.9, 0.1, 0.3])

    def judge() -> dict[str, float]:
        seen.append(trainer.embed(np.arange(15)))
        return {"figure": next(figures), "other": 0.0}

    assert trainer.run(tell=quiet, judge=judge, judge_every=1) == 2
    assert np.array_equal(trainer.embed(np.arange(15)), seen[1])
    assert not np.array_equal(seen[1], seen[3])
    assert [row["figure"] for row in trainer.history] == [0.2, 0.9, 0.1, 0.3]


def test_training_stops_once_nothing_was_gained_for_a_while(make: Callable[..., Trainer]) -> None:
    trainer = make(replace(SMALL, epochs=8))
    figures = scripted([0.5, 0.6, 0.3, 0.4])
    assert trainer.run(tell=quiet, judge=figures, judge_every=1, patience=2) == 2
    assert len(trainer.history) == 4


def test_of_equals_the_later_is_taken_but_a_slow_fall_is_one(make: Callable[..., Trainer]) -> None:
    trainer = make(replace(SMALL, epochs=5))
    figures = scripted([0.9, 0.885, 0.87, 0.855, 0.84])
    assert trainer.run(tell=quiet, judge=figures, judge_every=1, patience=9) == 2


@pytest.mark.parametrize(("every", "judged"), [(0, [5]), (1, [1, 2, 3, 4, 5]), (2, [2, 4, 5])])
def test_judgements_fall_when_due_and_at_the_end(
    every: int, judged: list[int], make: Callable[..., Trainer]
) -> None:
    trainer = make(replace(SMALL, epochs=5))
    trainer.run(tell=quiet, judge=lambda: {"figure": 1.0}, judge_every=every)
    assert [row["epoch"] for row in trainer.history if "figure" in row] == judged


def test_hard_batches_are_mined_anew_on_schedule(make: Callable[..., Trainer]) -> None:
    mined: list[int] = []

    class Told(Trainer):
        def embed(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
            mined.append(len(self.history))
            return super().embed(places)

    recipe = replace(SMALL, loss="triplet", photos_per_label=2, batch=4, hard_every=2, epochs=7)
    make(recipe, kind=Told).run(tell=quiet)
    assert mined == [2, 4, 6]
    # A run that goes on between keeps what was mined.
    stopped = make(recipe, folder="stopped")
    with pytest.raises(StoppedError):
        stopped.run(tell=stop_at(3 * len(stopped._batches(0)) + 1))
    mined.clear()
    make(recipe, folder="stopped", kind=Told).run(tell=quiet)
    assert mined == [4, 6]


def test_each_step_is_told(make: Callable[..., Trainer]) -> None:
    moments: list[Moment] = []
    trainer = make()
    trainer.run(tell=moments.append)
    assert [moment.step for moment in moments] == [1, 2, 3, 4, 5, 6]
    assert {moment.steps for moment in moments} == {6}
    assert [moment.epoch for moment in moments] == [0, 0, 1, 1, 2, 2]
    assert moments[3].loss == trainer.history[1]["loss"]
    assert min(moment.photos_per_second for moment in moments) > 0


def test_the_callers_own_seed_goes_on_undisturbed(make: Callable[..., Trainer]) -> None:
    import torch

    trainer = make()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    trainer.run(tell=quiet)
    assert torch.rand(4).equal(expected)


def test_another_seed_trains_otherwise(make: Callable[..., Trainer]) -> None:
    made = []
    for seed in (0, 0, 1):
        trainer = make(replace(SMALL, seed=seed))
        trainer.run(tell=quiet)
        made.append(trainer.embed(np.arange(15)))
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_a_loss_that_is_no_number_is_told(make: Callable[..., Trainer]) -> None:
    import torch

    trainer = make()
    with torch.no_grad():
        for values in trainer._learner.trained.parameters():
            values.fill_(float("nan"))
    with pytest.raises(LookalikeError, match=r"The loss is nan at step 1 of 6: .*smaller --rate"):
        trainer.run(tell=quiet)


def test_a_checkpoint_of_another_loss_is_refused(make: Callable[..., Trainer]) -> None:
    make(folder="one").run(tell=quiet)
    other = make(replace(SMALL, loss="subcenter-arcface"), folder="one")
    with pytest.raises(LookalikeError, match="does not fit the loss subcenter-arcface"):
        other.run(tell=quiet)
