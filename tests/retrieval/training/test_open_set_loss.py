"""The open-set loss, against its definition written out in loops."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.training.open_set_loss import Division, divide, open_set_loss

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def seeded(seed: int) -> torch.Generator:
    import torch

    return torch.Generator().manual_seed(seed)


def batch(sizes: list[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unit vectors about a centre per label, float64, and codes with gaps, in no order."""
    import torch

    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(5 * np.arange(len(sizes)) + 2, sizes))
    centres = rng.normal(size=(5 * len(sizes) + 2, 6))
    vectors = centres[codes] + 0.8 * rng.normal(size=(len(codes), 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return torch.tensor(vectors, requires_grad=True), torch.tensor(codes)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def by_hand(
    vectors: list[list[float]],
    parts: Division,
    *,
    folds: int = 4,
    fpirs: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4),
    sharpness: float = 10.0,
    rank_sharpness: float = 1.5,
    threshold_weight: float = 1.0,
) -> float:
    label, fold = parts.label.tolist(), parts.fold.tolist()
    in_gallery = parts.in_gallery.tolist()
    photos = range(len(vectors))

    def distance(photo: int, to: int) -> float:
        return min(
            1 - sum(a * b for a, b in zip(vectors[photo], vectors[other], strict=True))
            for other in photos
            if in_gallery[other] and label[other] == to
        )

    rates, threats = [], []
    for number in range(folds):
        enrolled = [one for one in range(len(fold)) if fold[one] != number]
        strangers = [photo for photo in photos if label[photo] not in enrolled]
        if not strangers:
            continue
        tops = sorted(min(distance(photo, to) for to in enrolled) for photo in strangers)
        for photo in strangers:
            scores = [math.exp(-sharpness * distance(photo, to)) for to in enrolled]
            threats.append(
                sum(
                    score / sum(scores) * (1 - distance(photo, to))
                    for score, to in zip(scores, enrolled, strict=True)
                )
            )
        for photo in photos:
            if label[photo] not in enrolled or in_gallery[photo]:
                continue
            own = distance(photo, label[photo])
            rank = 0.5 + sum(
                sigmoid(sharpness * (own - distance(photo, to)))
                for to in enrolled
                if to != label[photo]
            )
            for fpir in fpirs:
                passing = max(k for k in range(len(tops)) if k / len(tops) <= fpir)
                detected = sigmoid(sharpness * (tops[passing] - own))
                rates.append(detected * sigmoid(rank_sharpness * (1 - rank)))
    identified = 1 - sum(rates) / len(rates) if rates else 0.0
    return identified + threshold_weight * sum(threats) / len(threats)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"folds": 2},
        {"folds": 3, "fpirs": (0.0, 0.5)},
        {"fpirs": (0.29,), "sharpness": 25.0},
        {"rank_sharpness": 4.0},
        {"threshold_weight": 0.3},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "sizes", [[4] * 8, [1, 2, 3, 4, 5, 6, 7], [2, 2], [1, 3], [1, 1, 1], [100, 4]], ids=str
)
def test_it_is_what_its_definition_says(sizes: list[int], options: dict[str, Any]) -> None:
    embeddings, codes = batch(sizes)
    loss = open_set_loss(embeddings, codes, generator=seeded(3), **options)
    parts = divide(codes, options.get("folds", 4), seeded(3))
    assert loss.item() == pytest.approx(by_hand(embeddings.tolist(), parts, **options), abs=1e-12)


@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=9),
    folds=st.integers(2, 6),
    seed=st.integers(0, 50),
)
def test_a_batch_is_divided_evenly(sizes: list[int], folds: int, seed: int) -> None:
    _, codes = batch(sizes)
    parts = divide(codes, folds, seeded(seed))
    photos = Counter(parts.label.tolist())
    gallery = Counter(parts.label[parts.in_gallery].tolist())
    assert len({*zip(codes.tolist(), parts.label.tolist(), strict=True)}) == len(sizes)
    assert all(gallery[label] == (count + 1) // 2 for label, count in photos.items())
    times = Counter(parts.fold.tolist())
    assert set(times) == set(range(min(folds, len(sizes))))
    assert max(times.values()) - min(times.values()) <= 1


def test_the_generator_alone_decides_the_division() -> None:
    import torch

    embeddings, codes = batch([4] * 8)
    before = torch.random.get_rng_state()
    generator = seeded(1)
    first, second = (open_set_loss(embeddings, codes, generator=generator) for _ in range(2))
    assert first.item() == open_set_loss(embeddings, codes, generator=seeded(1)).item()
    assert first.item() != second.item()
    assert torch.equal(before, torch.random.get_rng_state())
    divisions = [divide(codes, 4, seeded(seed)) for seed in range(20)]
    assert len({tuple(one.fold.tolist()) for one in divisions}) > 10
    assert len({tuple(one.in_gallery.tolist()) for one in divisions}) > 10


def test_its_gradient_is_that_of_small_steps() -> None:
    import torch

    embeddings, codes = batch([3, 3, 2, 4, 1])

    def loss(vectors: Tensor) -> Tensor:
        return open_set_loss(vectors, codes, generator=seeded(0))

    assert torch.autograd.gradcheck(loss, embeddings)


@pytest.mark.parametrize("sizes", [[4] * 6, [1, 1, 1], [5], [1], [2, 2]], ids=str)
def test_gradients_are_finite_whatever_the_batch_shows(sizes: list[int]) -> None:
    import torch

    for scatter in (1.0, 0.0):
        embeddings, codes = batch(sizes)
        # Copies of one photo are equally near to everything.
        same = embeddings[:1].expand(len(codes), -1)
        vectors = (scatter * embeddings + (1 - scatter) * same).detach().requires_grad_()
        loss = open_set_loss(vectors, codes, generator=seeded(0))
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.isfinite()
        assert vectors.grad is not None
        assert vectors.grad.isfinite().all()
        if len(sizes) == 1:
            assert loss.item() == 0
            assert torch.count_nonzero(vectors.grad) == 0


def test_following_it_tells_strangers_from_the_known() -> None:
    """A hundred steps bring mates together and hold labels apart, each a stranger in turn."""
    import torch

    embeddings, codes = batch([4] * 6)
    free = embeddings.detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([free], lr=0.05)
    generator = seeded(0)
    same = codes[:, None] == codes
    off = ~torch.eye(len(codes), dtype=torch.bool)

    def overlap() -> float:
        """How far the farthest mates are beyond the nearest others."""
        unit = torch.nn.functional.normalize(free.detach(), dim=1)
        distances = 1 - unit @ unit.T
        return float(distances[same & off].max() - distances[~same].min())

    assert overlap() > 0.5
    for _ in range(100):
        optimiser.zero_grad()
        unit = torch.nn.functional.normalize(free, dim=1)
        open_set_loss(unit, codes, generator=generator).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert overlap() < 0
