"""Losses by name, each against its definition in cosine distances, written out in loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from retrieval.errors import LookalikeError
from retrieval.training.losses import LOSSES, Loss, loss_options, make_loss

if TYPE_CHECKING:
    from torch import Tensor

DIM, CLASSES = 5, 6
Matrix = list[list[float]]


def batch(seed: int = 0, *, scatter: float = 0.7) -> tuple[Tensor, Tensor]:
    """Sixteen unit vectors, float64, of five labels; one of them shows a single photo."""
    import torch

    rng = np.random.default_rng(seed)
    codes = rng.permutation([0, 0, 0, 0, 1, 1, 1, 1, 3, 3, 3, 4, 4, 4, 4, 5])
    vectors = rng.normal(size=(CLASSES, DIM))[codes] + scatter * rng.normal(size=(16, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return torch.tensor(vectors, requires_grad=True), torch.tensor(codes)


def distances_of(embeddings: Tensor) -> Matrix:
    rows = embeddings.tolist()
    return [[1 - sum(a * b for a, b in zip(x, y, strict=True)) for y in rows] for x in rows]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def pairs(codes: list[int]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    every = [(a, b) for a in range(len(codes)) for b in range(len(codes)) if a != b]
    same = [(a, b) for a, b in every if codes[a] == codes[b]]
    return same, [(a, b) for a, b in every if codes[a] != codes[b]]


def contrastive(d: Matrix, codes: list[int], pos_margin: float, neg_margin: float) -> float:
    same, others = pairs(codes)
    pulled = [d[a][b] - pos_margin for a, b in same if d[a][b] > pos_margin]
    pushed = [neg_margin - d[a][b] for a, b in others if d[a][b] < neg_margin]
    return mean(pulled) + mean(pushed)


def triplet(d: Matrix, codes: list[int], margin: float, triplets: str) -> float:
    same, others = pairs(codes)
    losses = []
    for anchor, mate in same:
        for other in (b for a, b in others if a == anchor):
            farther = d[anchor][other] - d[anchor][mate]
            wanted = {"semi-hard": farther > 0, "hard": farther <= 0, "all": True}[triplets]
            if wanted and farther < margin:
                losses.append(margin - farther)
    return mean(losses)


def multi_similarity(
    d: Matrix, codes: list[int], alpha: float, beta: float, base: float, epsilon: float
) -> float:
    same, others = pairs(codes)
    losses = []
    for photo in range(len(codes)):
        mates = [d[photo][b] for a, b in same if a == photo]
        rest = [d[photo][b] for a, b in others if a == photo]
        hard_mates = [one for one in mates if one > min(rest) - epsilon]
        hard_rest = [one for one in rest if mates and one < max(mates) + epsilon]
        pulled = math.log(1 + sum(math.exp(alpha * (one - base)) for one in hard_mates)) / alpha
        pushed = math.log(1 + sum(math.exp(beta * (base - one)) for one in hard_rest)) / beta
        losses.append(pulled + pushed)
    return mean(losses)


def supcon(d: Matrix, codes: list[int], temperature: float) -> float:
    same, _ = pairs(codes)
    losses = []
    for photo in range(len(codes)):
        nearness = [math.exp((1 - one) / temperature) for one in d[photo]]
        total = sum(nearness) - nearness[photo]
        mates = [-math.log(nearness[b] / total) for a, b in same if a == photo]
        if mates:
            losses.append(mean(mates))
    return mean(losses)


def arcface(cosines: Matrix, codes: list[int], margin: float, scale: float) -> float:
    """`cosines` holds, for each photo, that of its angle to each label's proxy."""
    losses = []
    for row, own in zip(cosines, codes, strict=True):
        angle = math.acos(row[own])
        logits = [scale * cosine for cosine in row]
        if angle <= math.pi - margin:
            logits[own] = scale * math.cos(angle + margin)
        else:
            logits[own] = scale * (math.cos(angle) - margin * math.sin(margin))
        losses.append(math.log(sum(math.exp(one - logits[own]) for one in logits)))
    return mean(losses)


def cosines_to_proxies(loss: Loss, embeddings: Tensor, per_label: int = 1) -> Matrix:
    """Of several proxies of a label, which lie side by side, the nearest counts."""
    (proxies,) = (one.double().T.tolist() for one in loss.parameters())
    assert len(proxies) == CLASSES * per_label
    rows = []
    for vector in embeddings.tolist():
        every = [
            sum(a * b for a, b in zip(vector, proxy, strict=True)) / math.hypot(*proxy)
            for proxy in proxies
        ]
        rows.append([max(every[k : k + per_label]) for k in range(0, len(every), per_label)])
    return rows


BY_DISTANCES: dict[str, Callable[..., float]] = {
    "contrastive": contrastive,
    "triplet": triplet,
    "multi-similarity": multi_similarity,
    "supcon": supcon,
}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("contrastive", {}),
        ("contrastive", {"pos_margin": 0.2, "neg_margin": 0.8}),
        ("triplet", {}),
        ("triplet", {"margin": 0.4}),
        ("triplet", {"triplets": "hard"}),
        ("triplet", {"triplets": "all", "margin": 0.3}),
        ("multi-similarity", {}),
        ("multi-similarity", {"alpha": 3, "beta": 20.0, "base": 0.4, "epsilon": 0.3}),
        ("supcon", {}),
        ("supcon", {"temperature": 0.5}),
    ],
    ids=str,
)
@pytest.mark.parametrize("scatter", [0.3, 0.7, 2.0])
def test_losses_of_distances(name: str, options: dict[str, Any], scatter: float) -> None:
    embeddings, codes = batch(scatter=scatter)
    loss = make_loss(name, dim=DIM, classes=CLASSES, **options)
    expected = BY_DISTANCES[name](
        distances_of(embeddings), codes.tolist(), **(loss_options(name) | options)
    )
    assert loss(embeddings, codes).item() == pytest.approx(expected, abs=1e-10)
    assert list(loss.parameters()) == []


@pytest.mark.parametrize("options", [{}, {"margin": 0.5, "scale": 10.0}, {"margin": 0}], ids=str)
@pytest.mark.parametrize("sub_centers", [None, 3, 2])
@pytest.mark.parametrize("opposite", [False, True])
def test_losses_of_angles(options: dict[str, Any], sub_centers: int | None, opposite: bool) -> None:
    """Margins are in radians. Opposite its proxies, a photo is past the angle that can take one."""
    name = "arcface" if sub_centers is None else "subcenter-arcface"
    more = {} if sub_centers is None else {"sub_centers": sub_centers}
    loss = make_loss(name, dim=DIM, classes=CLASSES, seed=4, **options, **more)
    embeddings, codes = batch()
    if opposite:
        (proxies,) = loss.parameters()
        own = -proxies.detach().T[codes * (sub_centers or 1)].double()
        embeddings = (own / own.norm(dim=1, keepdim=True) + 0.01 * embeddings).detach()
        embeddings = embeddings / embeddings.norm(dim=1, keepdim=True)
    cosines = cosines_to_proxies(loss, embeddings, sub_centers or 1)
    if opposite and sub_centers is None:
        assert all(row[code] < -0.99 for row, code in zip(cosines, codes.tolist(), strict=True))
    expected = arcface(cosines, codes.tolist(), **(loss_options("arcface") | options))
    assert loss(embeddings, codes).item() == pytest.approx(expected, abs=1e-7)


def test_open_set_takes_its_options_and_another_division_each_call() -> None:
    import torch

    from retrieval.training.open_set_loss import open_set_loss

    embeddings, codes = batch()
    options: dict[str, Any] = {"folds": 2, "fpirs": [0.3], "sharpness": 5, "threshold_weight": 2}
    loss = make_loss("open-set", dim=DIM, classes=CLASSES, seed=3, **options)
    values = [loss(embeddings, codes).item() for _ in range(4)]
    assert len(set(values)) == 4
    for calls, value in enumerate(values):
        generator = torch.Generator().manual_seed(3 * 1_000_003 + calls)
        assert value == open_set_loss(embeddings, codes, generator=generator, **options).item()


def test_the_sum_is_arcface_plus_a_weight_times_open_set() -> None:
    embeddings, codes = batch()
    options = {"dim": DIM, "classes": CLASSES, "seed": 2}
    both = make_loss("arcface+open-set", weight=0.3, margin=0.2, folds=3, **options)
    arc = make_loss("arcface", margin=0.2, **options)
    open_set = make_loss("open-set", folds=3, **options)
    for _ in range(2):
        expected = arc(embeddings, codes) + 0.3 * open_set(embeddings, codes)
        assert both(embeddings, codes).item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_reach_embeddings_and_proxies_and_are_finite(name: str) -> None:
    import torch

    loss = make_loss(name, dim=DIM, classes=CLASSES)
    embeddings, codes = batch()
    loss(embeddings, codes).backward()  # type: ignore[no-untyped-call]
    for leaf in (embeddings, *loss.parameters()):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        assert torch.count_nonzero(leaf.grad)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shown", [[0], [0, 0, 0], [0, 1, 2], [0, 0, 1, 1]], ids=str)
def test_gradients_are_finite_where_there_is_little_to_learn(name: str, shown: list[int]) -> None:
    """Batches of one photo, one label or single photos; mates are copies, and lie on a proxy."""
    import torch

    loss = make_loss(name, dim=DIM, classes=CLASSES)
    proxies = next(loss.parameters(), torch.eye(DIM)[:, [0, 1, 2, 0, 1, 2]]).detach()
    embeddings = proxies.T[shown].clone().requires_grad_()
    value = loss(embeddings, torch.tensor(shown))
    value.backward()  # type: ignore[no-untyped-call]
    assert value.isfinite()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_autocast_and_short_floats_lose_nothing_but_the_embeddings_digits(name: str) -> None:
    import torch

    embeddings, codes = batch()
    short = embeddings.detach().bfloat16()
    expected = make_loss(name, dim=DIM, classes=CLASSES)(short.float(), codes)
    loss = make_loss(name, dim=DIM, classes=CLASSES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(short, codes)
    assert value.dtype == torch.float32
    assert value.item() == expected.item()
    assert all(one.dtype == torch.float32 for one in loss.parameters())


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_goes_on_from_its_state(name: str, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    vectors, codes = batch()
    embeddings = vectors.detach().float().requires_grad_()
    loss = make_loss(name, dim=DIM, classes=CLASSES, seed=1)
    loss(embeddings, codes).backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter += 1
    save_file(loss.state_dict(), tmp_path / "loss.safetensors")
    resumed = make_loss(name, dim=DIM, classes=CLASSES, seed=1)
    resumed.load_state_dict(load_file(tmp_path / "loss.safetensors"))
    for _ in range(2):
        assert resumed(embeddings, codes).item() == loss(embeddings, codes).item()


@pytest.mark.parametrize("classes", [CLASSES + 1, None])
def test_the_state_of_another_loss_is_refused(classes: int | None) -> None:
    state = make_loss("arcface", dim=DIM, classes=classes).state_dict() if classes else {}
    loss = make_loss("arcface", dim=DIM, classes=CLASSES)
    with pytest.raises(LookalikeError, match=r"not fit the loss arcface \(.*arcface.W.*\): go on"):
        loss.load_state_dict(state)


@pytest.mark.parametrize("name", LOSSES)
def test_equal_seeds_make_equal_losses_and_leave_the_global_state(name: str) -> None:
    import torch

    embeddings, codes = batch()
    before = torch.random.get_rng_state()
    values = [
        make_loss(name, dim=DIM, classes=CLASSES, seed=seed)(embeddings, codes).item()
        for seed in (7, 7, 8)
    ]
    assert values[0] == values[1]
    seeded = "arcface" in name or "open-set" in name
    assert (values[0] != values[2]) == seeded
    assert torch.equal(before, torch.random.get_rng_state())


def test_proxies_are_unit_vectors_in_all_directions() -> None:
    loss = make_loss("subcenter-arcface", dim=64, classes=50, sub_centers=2)
    (proxies,) = loss.parameters()
    assert proxies.shape == (64, 100)
    assert np.allclose(proxies.detach().norm(dim=0), 1)
    assert float(proxies.detach().mean(dim=1).norm()) < 0.2


def test_a_loss_tells_all_its_options() -> None:
    loss = make_loss("arcface", dim=DIM, classes=CLASSES, margin=0.5)
    assert (loss.name, loss.options) == ("arcface", {"margin": 0.5, "scale": 24.0})
    assert loss.to("cpu") is loss


def test_an_unknown_loss_is_refused_with_the_near_ones() -> None:
    with pytest.raises(LookalikeError) as refused:
        make_loss("arc-face", dim=DIM, classes=CLASSES)
    assert "no loss 'arc-face' (did you mean arcface" in str(refused.value)
    assert all(name in str(refused.value) for name in LOSSES)
    with pytest.raises(LookalikeError, match="no loss 'xyz': say one of contrastive, "):
        loss_options("xyz")


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        (
            "arcface",
            {"marign": 0.3},
            r"The loss arcface has no option 'marign' \(did you mean margin\?\): it has margin, ",
        ),
        (
            "arcface",
            {"margin": 28.6},
            "margin of the loss arcface must be a number between 0 and 1.5",
        ),
        ("arcface", {"margin": math.nan}, "must be a number between 0 and 1.5, not nan"),
        ("arcface", {"margin": True}, "must be a number between 0 and 1.5, not True"),
        ("arcface", {"scale": "24"}, "must be a number between 1 and 1000, not '24'"),
        ("subcenter-arcface", {"sub_centers": 2.0}, "must be a whole number between 1 and 100"),
        ("triplet", {"triplets": "soft"}, "must be one of semi-hard, hard, all, not 'soft'"),
        ("open-set", {"folds": 1}, "folds of the loss open-set must be a whole number between 2"),
        ("open-set", {"fpirs": 0.1}, "must be numbers, each between 0 and 0.99, not 0.1"),
        ("open-set", {"fpirs": []}, r"must be numbers, each between 0 and 0.99, not \[\]"),
        ("open-set", {"fpirs": [0.1, 1]}, "must be numbers, each between 0 and 0.99"),
        ("contrastive", {"margin": 1}, r"no option 'margin' \(did you mean .*_margin"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_are_refused(
    name: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(LookalikeError, match=sentence):
        make_loss(name, dim=DIM, classes=CLASSES, **options)


def test_options_may_be_at_their_limits() -> None:
    make_loss("open-set", dim=DIM, classes=CLASSES, fpirs=(0, 0.99), folds=2, threshold_weight=0)
