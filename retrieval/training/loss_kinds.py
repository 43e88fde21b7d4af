"""The kinds of losses that `losses.make_loss` makes: their options, and what computes them.

All take the cosine distance d = 1 − a·b, smaller is closer, and margins between distances are in
its unit. pytorch-metric-learning is handed `CosineSimilarity`, so where it wants a margin of
similarities it is told 1 − margin: its results are those of d, and exact near 0, where those of its
Euclidean distance are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from retrieval.training.open_set_loss import open_set_loss

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Option:
    """A default, and what else is allowed: a number within limits, or one of some choices."""

    default: Any
    low: float = 0.0
    high: float = 2.0
    choices: tuple[str, ...] = ()

    def problem(self, value: object) -> str | None:
        """Say what a value must be, if it isn't."""
        if self.choices:
            return None if value in self.choices else f"be one of {', '.join(self.choices)}"
        limits = f"between {self.low:g} and {self.high:g}"
        if isinstance(self.default, tuple):
            right = isinstance(value, (list, tuple)) and value and all(map(self._allows, value))
            return None if right else f"be numbers, each {limits}"
        what = "whole number" if isinstance(self.default, int) else "number"
        return None if self._allows(value) else f"be a {what} {limits}"

    def _allows(self, number: object) -> bool:
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            return False
        whole = isinstance(number, int) or not isinstance(self.default, int)
        return whole and self.low <= number <= self.high


_ARCFACE = {"margin": Option(0.3, 0, 1.5), "scale": Option(24.0, 1, 1000)}
_OPEN_SET = {
    "folds": Option(4, 2, 100),
    "fpirs": Option((0.05, 0.1, 0.2, 0.4), 0, 0.99),
    "sharpness": Option(10.0, 0.1, 1000),
    "rank_sharpness": Option(1.5, 0.1, 1000),
    "threshold_weight": Option(1.0, 0, 1000),
}


@dataclass(frozen=True)
class Parts:
    """What a loss is made of: modules with its parameters and buffers, and what computes it."""

    compute: Callable[[Tensor, Tensor], Tensor]
    modules: dict[str, nn.Module] = field(default_factory=dict)


def _contrastive(
    _dim: int, _classes: int, _seed: int, *, pos_margin: float, neg_margin: float
) -> Parts:
    """max(0, d − pos_margin) of same pairs plus max(0, neg_margin − d) of others, in d.

    Either is averaged over the pairs where it isn't 0. Same pairs are pulled together up to
    `pos_margin` and others pushed apart up to `neg_margin`, as in Hadsell, Chopra and LeCun
    ("Dimensionality reduction by learning an invariant mapping", CVPR 2006), which takes squares
    of Euclidean distances D. On unit vectors d = D²/2, so of same pairs it is the same, and the
    usual margin of D = 1 is the default, 0.5.
    """
    from pytorch_metric_learning import distances, losses

    loss = losses.ContrastiveLoss(
        pos_margin=1 - pos_margin,
        neg_margin=1 - neg_margin,
        distance=distances.CosineSimilarity(),
    )
    return Parts(loss)


def _triplet(_dim: int, _classes: int, _seed: int, *, margin: float, triplets: str) -> Parts:
    """max(0, d(a, p) − d(a, n) + margin), in d, averaged over the triplets where it isn't 0.

    Of all the batch's triplets, "semi-hard" takes those whose negative n is farther from the
    anchor a than its mate p, by the margin at most; "hard" those where it isn't farther; "all"
    both (Schroff, Kalenichenko and Philbin, "FaceNet", CVPR 2015, whose margin of 0.2 is one of
    D² = 2d, so 0.1 here).
    """
    from pytorch_metric_learning import distances, losses, miners

    distance = distances.CosineSimilarity()
    kind = triplets.replace("-", "")
    miner = miners.TripletMarginMiner(margin=margin, type_of_triplets=kind, distance=distance)
    return _mined(losses.TripletMarginLoss(margin=margin, distance=distance), miner)


def _arcface(dim: int, classes: int, seed: int, *, margin: float, scale: float) -> Parts:
    """Cross-entropy over scale · cos θ_c of all proxies c, cos(θ + margin) for the photo's own.

    θ is the angle to a label's proxy, in radians, with cos θ = 1 − d (Deng, Guo, Xue and
    Zafeiriou, "ArcFace", CVPR 2019). Beyond θ = π − margin the own logit is
    cos θ − margin · sin(margin), so that it keeps falling.
    """
    from pytorch_metric_learning import losses

    loss = losses.ArcFaceLoss(
        num_classes=classes,
        embedding_size=dim,
        margin=math.degrees(margin),
        scale=scale,
        weight_init_func=_unit_proxies(seed),
    )
    return Parts(loss, {"arcface": loss})


def _subcenter_arcface(
    dim: int, classes: int, seed: int, *, margin: float, scale: float, sub_centers: int
) -> Parts:
    """As `_arcface`, with several proxies per label, of which the nearest counts.

    After Deng, Guo, Liu, Gong and Zafeiriou, "Sub-center ArcFace" (ECCV 2020).
    """
    from pytorch_metric_learning import losses

    loss = losses.SubCenterArcFaceLoss(
        num_classes=classes,
        embedding_size=dim,
        margin=math.degrees(margin),
        scale=scale,
        sub_centers=sub_centers,
        weight_init_func=_unit_proxies(seed),
    )
    return Parts(loss, {"arcface": loss})


def _multi_similarity(
    _dim: int, _classes: int, _seed: int, *, alpha: float, beta: float, base: float, epsilon: float
) -> Parts:
    """ln(1 + Σ e^{α(d − base)}) / α over mates, plus ln(1 + Σ e^{β(base − d)}) / β over others.

    Averaged over the batch's photos. Only mates farther than the nearest other less ε count,
    and others nearer than the farthest mate plus ε (Wang, Han, Huang, Dong and Scott,
    "Multi-Similarity Loss with General Pair Weighting", CVPR 2019). Its λ is 1 − base.
    """
    from pytorch_metric_learning import losses, miners

    loss = losses.MultiSimilarityLoss(alpha=alpha, beta=beta, base=1 - base)
    return _mined(loss, miners.MultiSimilarityMiner(epsilon=epsilon))


def _supcon(_dim: int, _classes: int, _seed: int, *, temperature: float) -> Parts:
    """−mean over a photo's mates p of ln(e^{−d_p/T} / Σ e^{−d/T}), averaged over photos with mates.

    The sum is over all other photos of the batch. After Khosla et al., "Supervised Contrastive
    Learning" (NeurIPS 2020), L_out; its e^{a·b/T} differs by a factor that cancels.
    """
    from pytorch_metric_learning import losses

    return Parts(losses.SupConLoss(temperature=temperature))


def _open_set(_dim: int, _classes: int, seed: int, **options: Any) -> Parts:
    """See `open_set_loss`; each call draws another division, and the state holds how many did."""
    import torch

    held = torch.nn.Module()
    held.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def compute(embeddings: Tensor, codes: Tensor) -> Tensor:
        calls = held.get_buffer("calls")
        generator = torch.Generator().manual_seed((seed * 1_000_003 + int(calls)) % 2**63)
        calls += 1
        return open_set_loss(embeddings, codes, generator=generator, **options)

    return Parts(compute, {"divisions": held})


def _arcface_open_set(dim: int, classes: int, seed: int, *, weight: float, **options: Any) -> Parts:
    """`_arcface` plus weight times `_open_set`."""
    arcface = _arcface(dim, classes, seed, **{name: options.pop(name) for name in _ARCFACE})
    open_set = _open_set(dim, classes, seed, **options)

    def compute(embeddings: Tensor, codes: Tensor) -> Tensor:
        return arcface.compute(embeddings, codes) + weight * open_set.compute(embeddings, codes)

    return Parts(compute, arcface.modules | open_set.modules)


def _mined(loss: Callable[..., Tensor], miner: Callable[[Tensor, Tensor], Any]) -> Parts:
    return Parts(lambda embeddings, codes: loss(embeddings, codes, miner(embeddings, codes)))


def _unit_proxies(seed: int) -> Callable[[Tensor], None]:
    """Draw proxies, (dim, proxies), evenly from the sphere that the embeddings lie on."""
    import torch

    def fill(proxies: Tensor) -> None:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(proxies.shape, generator=generator)
        with torch.no_grad():
            proxies.copy_(torch.nn.functional.normalize(drawn, dim=0))

    return fill


@dataclass(frozen=True)
class Kind:
    """A kind of loss.

    Attributes:
        text: What it does, in half a sentence.
        options: Its options by name.
        build: Called with `(dim, classes, seed)` and all options.
    """

    text: str
    options: dict[str, Option]
    build: Callable[..., Parts]


KINDS = {
    "contrastive": Kind(
        "pulls photos of a label together and pushes others apart, up to a margin",
        {"pos_margin": Option(0.0), "neg_margin": Option(0.5)},
        _contrastive,
    ),
    "triplet": Kind(
        "wants a photo nearer to its mate than to another label's, by a margin",
        {
            "margin": Option(0.1),
            "triplets": Option("semi-hard", choices=("semi-hard", "hard", "all")),
        },
        _triplet,
    ),
    "arcface": Kind(
        "tells labels apart by a proxy each, with an angular margin", _ARCFACE, _arcface
    ),
    "subcenter-arcface": Kind(
        "arcface with several proxies per label, for labels of several looks",
        _ARCFACE | {"sub_centers": Option(3, 1, 100)},
        _subcenter_arcface,
    ),
    "multi-similarity": Kind(
        "weighs pairs by how hard they are among the batch's others",
        {
            "alpha": Option(2.0, 0.1, 1000),
            "beta": Option(50.0, 0.1, 1000),
            "base": Option(0.5),
            "epsilon": Option(0.1),
        },
        _multi_similarity,
    ),
    "supcon": Kind(
        "picks a photo's mates out of the batch, softly",
        {"temperature": Option(0.1, 0.001, 100)},
        _supcon,
    ),
    "open-set": Kind(
        "identifies half of the batch among the other half, with labels hidden as strangers",
        _OPEN_SET,
        _open_set,
    ),
    "arcface+open-set": Kind(
        "arcface plus a weight times open-set",
        {"weight": Option(1.0, 0, 1000)} | _ARCFACE | _OPEN_SET,
        _arcface_open_set,
    ),
}
