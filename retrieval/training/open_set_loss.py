"""The open-set loss: a batch plays gallery, known photos and strangers, and is judged as we are.

After Su, Kim, Liu, Jain and Liu, "Open-Set Biometrics: Beyond Good Closed-Set Models" (ECCV 2024,
arXiv 2407.16133), told in distances. Every label of the batch gives half of its photos to the
gallery and keeps the others as probes. The labels are dealt into folds, and each fold in turn plays
the strangers: its photos leave the gallery, and all of them ask as non-mated probes, beside the
probes of the other labels as mated ones. With d_p the distance of mated probe p to its own label,
d_pg to each label g of the gallery, σ the logistic function, s the sharpness and r that of ranks:

- detection(p, τ) = σ(s · (τ − d_p)), softly whether p is accepted at the threshold τ;
- rank(p) = Σ_g σ(s · (d_p − d_pg)), softly how many labels are nearer than its own, which adds ½;
- identification(p) = σ(r · (1 − rank(p))), softly whether its own comes first;
- L_ID = 1 − mean of detection(p, τ) · identification(p) over all mated probes and thresholds. Each
  FPIR x gives a threshold: of the fold's n non-mated probes, ordered by the distance of the nearest
  label, exactly ⌊x·n⌋ lie below it. It carries gradients too, so that strangers are pushed away;
- L_RT = mean over non-mated probes u of Σ_g w_ug · (1 − d_ug), with w_u = softmax_g(−s · d_ug): the
  relative threshold minimisation, which pushes away what is nearest to a stranger.

The loss is L_ID + w · L_RT. Other than in the authors' code, a label's distance is that of its
nearest photo, as an identification takes it, not that of its photos' mean; distances are cosine
distances; and the thresholds are those of chosen FPIRs, not all the strangers' scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Division:
    """Which part each photo and each label of a batch plays.

    Attributes:
        label: int64, shape `(n,)`, number of each photo's label, from 0.
        in_gallery: bool, shape `(n,)`: the gallery's half of each label, the larger where its
            photos are odd, so a label with one photo has no probe.
        fold: int64, shape `(labels,)`, in which fold each label is a stranger.
    """

    label: Tensor
    in_gallery: Tensor
    fold: Tensor


def divide(codes: Tensor, folds: int, generator: torch.Generator) -> Division:
    """Divide a batch at random.

    Args:
        codes: int64, shape `(n,)`; equal numbers show the same label.
        folds: Into how many parts the labels are dealt, as evenly as they go; with fewer labels,
            each is a part of its own.
        generator: Draws, on the CPU.
    """
    import torch

    _, label, sizes = torch.unique(codes.cpu(), return_inverse=True, return_counts=True)
    fold = torch.empty_like(sizes)
    fold[torch.randperm(len(sizes), generator=generator)] = torch.arange(len(sizes)) % folds
    shuffled = torch.randperm(len(label), generator=generator)
    # By label, and within each at random.
    order = shuffled[torch.argsort(label[shuffled], stable=True)]
    turn = torch.empty_like(label)
    starts = torch.cumsum(sizes, 0) - sizes
    turn[order] = torch.arange(len(label)) - torch.repeat_interleave(starts, sizes)
    in_gallery = turn < ((sizes + 1) // 2)[label]
    return Division(*(part.to(codes.device) for part in (label, in_gallery, fold)))


def open_set_loss(
    embeddings: Tensor,
    codes: Tensor,
    *,
    generator: torch.Generator,
    folds: int = 4,
    fpirs: Sequence[float] = (0.05, 0.1, 0.2, 0.4),
    sharpness: float = 10.0,
    rank_sharpness: float = 1.5,
    threshold_weight: float = 1.0,
) -> Tensor:
    """Return the open-set loss of a batch, as the module's text defines it.

    Args:
        embeddings: Floating, shape `(n, dim)`, L2-normalised.
        codes: int64, shape `(n,)`; equal numbers show the same label.
        generator: Draws the division, on the CPU.
        folds: Each label is a stranger once in so many rounds, so a share 1/folds is at a time.
        fpirs: The shares of strangers let through at the thresholds, each in [0, 1).
        sharpness: s, per unit of cosine distance.
        rank_sharpness: r, per rank.
        threshold_weight: w.

    Returns:
        A scalar of the embeddings' type. L_ID is left out where no label has two photos, or the
        batch shows a single label; then there is nobody to identify, or no stranger. L_RT is left
        out with a single label.
    """
    import torch

    parts = divide(codes, folds, generator)
    labels = len(parts.fold)
    nearest = _nearest_of_labels(embeddings, parts)
    hits, threats = [], []
    for fold in range(min(folds, labels) if labels > 1 else 0):
        enrolled = parts.fold != fold
        known = enrolled[parts.label]
        mated, strangers = known & ~parts.in_gallery, nearest[~known][:, enrolled]
        thresholds = _thresholds(strangers, fpirs)
        own = nearest[mated, parts.label[mated]]
        rank = torch.sigmoid(sharpness * (own[:, None] - nearest[mated][:, enrolled])).sum(dim=1)
        identification = torch.sigmoid(rank_sharpness * (1 - rank))
        detection = torch.sigmoid(sharpness * (thresholds - own[:, None])).mean(dim=1)
        hits.append(detection * identification)
        weights = torch.softmax(-sharpness * strangers, dim=1)
        threats.append((weights * (1 - strangers)).sum(dim=1))
    loss = (embeddings * 0).sum()  # has a gradient even where there is nothing to learn
    if any(len(one) for one in hits):
        loss = loss + 1 - torch.cat(hits).mean()
    if threats:
        loss = loss + threshold_weight * torch.cat(threats).mean()
    return loss


def _nearest_of_labels(embeddings: Tensor, parts: Division) -> Tensor:
    """Return how far each photo is from each label's nearest photo in the gallery: (n, labels)."""
    gallery = embeddings[parts.in_gallery]
    distances = 1 - embeddings @ gallery.T
    columns = parts.label[parts.in_gallery].expand(len(embeddings), -1)
    farthest = distances.new_full((len(embeddings), len(parts.fold)), math.inf)
    return farthest.scatter_reduce(1, columns, distances, "amin")


def _thresholds(strangers: Tensor, fpirs: Sequence[float]) -> Tensor:
    """Return thresholds, (fpirs,), with these shares of strangers, (n, labels), below them."""
    ascending = strangers.amin(dim=1).sort().values
    # 0.29 * 100 is 28.999…96.
    return ascending[[math.floor(share * len(ascending) + 1e-9) for share in fpirs]]
