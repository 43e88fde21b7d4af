"""The plan: what is picked where nothing was asked for, and what it counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.encoders.networks import Network, untrained_network
from retrieval.errors import EncoderError, LookalikeError
from retrieval.training.batches import balanced_batches, shuffled_batches
from retrieval.training.learner import Learner
from retrieval.training.photos import TrainingPhotos, divide, read_photos
from retrieval.training.planning import Plan, as_json, from_json, make_plan
from retrieval.training.probing import probe
from retrieval.training.wishes import Wishes

Make = Callable[..., Network]
Planned = Callable[..., Plan]


@pytest.fixture
def planned(photos: Path, tiny_network: Make) -> Planned:
    """A function that plans for the drawn photos, each of them so many times."""

    def plan(network: Network | None = None, *, times: int = 1, **wishes: Any) -> Plan:
        read = read_photos(photos)
        labels = 6 if times > 1 else 3
        many = TrainingPhotos(
            read.paths * times,
            tuple(f"label {code}" for code in range(labels)),
            np.arange(len(read) * times, dtype=np.int64) % labels,
            read.groups * times,
            np.tile(read.validation, times),
        )
        division = divide(many, seed=0)
        return make_plan(Wishes(**wishes), network or tiny_network(), many, division)

    return plan


def test_few_photos_train_a_projection(planned: Planned) -> None:
    plan = planned(epochs=1)
    assert plan.shape.mode == "head"
    assert plan.reasons == ("mode head: 15 photos of 3 labels teach no more than a projection",)
    assert plan.shape.dim == 256
    assert plan.shape.share == 0.5
    assert plan.recipe.precision == "float32"


def test_a_cpu_trains_the_last_stages_of_many(planned: Planned) -> None:
    plan = planned(times=14, epochs=1)
    assert plan.shape.mode == "partial"
    assert plan.shape.stage > 0
    assert plan.shape.batch_norm == "frozen"
    assert plan.recipe.mix > 0
    assert plan.recipe.rate == 1e-3


def test_a_cpu_without_the_time_trains_a_projection_for_as_long_as_it_may(planned: Planned) -> None:
    plan = planned(times=14, minutes=1e-4)
    assert plan.shape.mode == "head"
    assert plan.recipe.epochs == 1
    assert plan.reasons[0].startswith("mode head: 0.0001 minutes allow 0 epochs")
    assert plan.reasons[1].startswith("1 epochs: 0.0001 minutes allow no more")
    assert len(plan.reasons) == 2


def test_what_is_asked_for_is_done_whatever_the_time(planned: Planned) -> None:
    plan = planned(times=14, minutes=1e-4, mode="partial", epochs=3, precision="bfloat16", stage=0)
    assert (plan.shape.mode, plan.shape.stage, plan.recipe.epochs) == ("partial", 0, 3)
    assert plan.recipe.precision == "bfloat16"
    assert plan.reasons == ()


def test_a_network_without_weights_is_trained_whole(planned: Planned, tiny_network: Make) -> None:
    untrained = untrained_network("timm:test_efficientnet", seed=0)
    plan = planned(untrained, epochs=1, encoder="timm:test_efficientnet")
    assert plan.shape.mode == "full"
    assert plan.shape.batch_norm == "learnt"
    assert plan.shape.dim == 256
    assert (plan.recipe.views, plan.cache_bytes) == (0, 0)
    plan = planned(tiny_network("siamese"), epochs=1, encoder="siamese")
    assert plan.shape.mode == "full"
    assert plan.shape.dim == 0  # its last layer is a projection
    assert plan.reasons == ("mode full: siamese begins without weights",)
    for mode in ("head", "partial"):
        with pytest.raises(EncoderError, match="without weights has nothing to keep"):
            planned(untrained, epochs=1, mode=mode)


def test_a_network_that_can_not_be_split_trains_a_projection(
    planned: Planned, tiny_network: Make
) -> None:
    plan = planned(tiny_network("test_resnet"), times=14, epochs=1, encoder="timm:test_resnet")
    assert plan.shape.mode == "head"
    assert plan.reasons == ("mode head: timm:test_resnet can't be split into stages",)


def test_losses_of_pairs_get_pairs(planned: Planned) -> None:
    plan = planned(loss="triplet", epochs=1, batch=10, hard_every=2)
    assert (plan.recipe.batch, plan.recipe.photos_per_label) == (10, 4)
    assert plan.recipe.hard_every == 2
    assert planned(epochs=1).recipe.photos_per_label == 0


def test_a_plan_counts_photos_labels_steps_and_bytes(planned: Planned, tiny_network: Make) -> None:
    plan = planned(epochs=3, batch=4, views=2, dim=16)
    assert (plan.photos, plan.labels, plan.whole) == (15, 3, 15)
    assert plan.train + plan.known + plan.strangers == 15
    assert plan.stranger_labels == 1
    assert plan.steps == 3 * sum(
        len(shuffled_batches(n, 4, seed=0, epoch=0)) for n in (plan.train, plan.whole)
    )
    # Three views of each photo, in sixteen bits.
    assert plan.cache_bytes == 3 * 15 * 2 * 256
    assert plan.seconds > 0


def test_photos_that_a_csv_keeps_never_train(
    photos: Path, tiny_network: Make, planned: Planned
) -> None:
    rows = [f"red/{n}.png,red,{'val' if n > 2 else 'train'}" for n in range(5)]
    rows += [f"blue/{n}.png,blue,train" for n in range(5)]
    file = photos / "photos.csv"
    file.write_text("\n".join(["path,label,split", *rows]), encoding="utf-8")
    read = read_photos(file)
    plan = make_plan(Wishes(epochs=1), tiny_network(), read, divide(read, seed=0))
    assert (plan.photos, plan.whole, plan.train, plan.known) == (10, 8, 8, 2)


def test_without_photos_to_keep_back_there_is_no_rehearsal(
    photos: Path, tiny_network: Make
) -> None:
    for path in photos.rglob("[2-4].png"):
        path.unlink()
    (photos / "loose.png").write_bytes((photos / "red" / "0.png").read_bytes())
    read = read_photos(photos)
    plan = make_plan(Wishes(epochs=1), tiny_network(), read, divide(read, seed=0))
    assert not plan.rehearsal
    assert plan.reasons[:2] == (
        "photos without a label are left out: 1",
        "no rehearsal: no label has photos enough to keep some back",
    )


def test_what_can_not_be_done_is_refused(planned: Planned) -> None:
    with pytest.raises(LookalikeError, match="--stage goes with --mode partial, and this is head"):
        planned(epochs=1, stage=2)
    with pytest.raises(EncoderError, match="leaves nothing to train"):
        planned(epochs=1, stage=99, mode="partial")
    with pytest.raises(LookalikeError, match="There is no loss"):
        planned(loss="none")


def test_a_plan_goes_through_json(planned: Planned) -> None:
    plan = planned(epochs=1, loss_options={"margin": 0.2})
    assert from_json(json.loads(json.dumps(as_json(plan)))) == plan


@pytest.mark.parametrize("precision", ["auto", "bfloat16"])
def test_a_probe_measures_what_will_be_done(
    precision: Any, planned: Planned, photos: Path, tiny_network: Make
) -> None:
    network, read = tiny_network(), read_photos(photos)
    shape = planned(epochs=1, mode="partial").shape
    speed = probe(network, shape, read, "cpu", precision)
    assert speed.made > 0
    assert speed.trained > 0
    assert speed.precision in (("float32", "bfloat16") if precision == "auto" else (precision,))
    import torch

    frozen = Learner(network, shape, seed=0).frozen
    assert frozen is not None
    with torch.inference_mode():
        size = network.preprocessing.size
        assert speed.outputs == 2 * frozen(torch.zeros(1, 3, size, size)).numel()


def test_the_batches_of_pairs_are_as_many_as_planned(planned: Planned) -> None:
    plan = planned(loss="triplet", epochs=1, batch=8)
    codes = np.arange(15) % 3
    batches = balanced_batches(codes, labels_per_batch=2, photos_per_label=4, seed=0, epoch=0)
    assert abs(plan.steps - 2 * len(batches)) <= 2
