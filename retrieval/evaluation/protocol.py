"""How a gallery is judged by queries whose labels are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from db import Store
from retrieval.embedding import Embedded, FailedPhoto, Unreadable, embed
from retrieval.encoders import Encoder
from retrieval.errors import LookalikeError
from retrieval.evaluation.distances import distance_rows, gallery_vectors
from retrieval.evaluation.metrics import (
    DecisionRates,
    Rate,
    SearchOutcomes,
    decision_rates,
    mean_average_precision_at_r,
    recall_at_k,
    search_outcomes,
)
from retrieval.sources import Source, find_photos, parent_name, read_labels

RECALL_AT = (1, 5, 10)
# Queries whose distances to all items are held at a time.
_CHUNK = 64


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation measured.

    Attributes:
        queries: How many queries were judged.
        n_mated: How many have a mate in the gallery.
        n_non_mated: How many are strangers.
        items: How many items the gallery had.
        labels: How many labels it had.
        recall: Recall@k by k; `None` without mated queries.
        map_at_r: MAP@R; `None` without mated queries.
        threshold: The gallery's threshold τ.
        decisions: The match decision at each threshold, ascending.
        failed: Queries that could not be read.
    """

    queries: int
    n_mated: int
    n_non_mated: int
    items: int
    labels: int
    recall: dict[int, Rate | None]
    map_at_r: float | None
    threshold: float | None
    decisions: tuple[DecisionRates, ...]
    failed: tuple[FailedPhoto, ...]


def evaluate(
    store: Store,
    encoder: Encoder,
    queries: Path,
    *,
    thresholds: Sequence[float],
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Judge a gallery; see `Gallery.evaluate`."""
    sources = query_sources(queries)
    with store.read() as tx:
        gallery = gallery_vectors(tx)
        stored = tx.threshold()
    failed, parts, done = [], [], 0
    outcomes = embed(sources, encoder)
    while some := list(islice(outcomes, _CHUNK)):
        failed += [
            FailedPhoto(str(one.source.path), one.reason)
            for one in some
            if isinstance(one, Unreadable)
        ]
        read = [one for one in some if isinstance(one, Embedded)]
        if read:
            distances = distance_rows(np.stack([one.vector for one in read]), gallery.vectors)
            labels = [one.source.label.label if one.source.label else None for one in read]
            # −∞ is nobody's code: a label the gallery lacks has no mate, nor has no label.
            codes = np.array(
                [gallery.codes.get(label or "", np.iinfo(np.int64).min) for label in labels]
            )
            own = np.array([one.content.content_hash for one in read])
            parts.append(
                search_outcomes(
                    distances,
                    codes[:, np.newaxis] == gallery.identities,
                    eligible=own[:, np.newaxis] != gallery.hashes,
                )
            )
        done += len(some)
        if progress is not None:
            progress(done, len(sources))
    measured = SearchOutcomes.concatenate(parts)
    if not len(measured):
        raise LookalikeError(
            f"None of the {len(failed)} queries in {queries} could be read; the first: "
            f"{failed[0].path}: {failed[0].reason}."
        )
    tau = stored.value if stored else None
    judged = sorted({*thresholds, *([] if tau is None else [tau])})
    return Evaluation(
        queries=len(measured),
        n_mated=int(measured.mated.sum()),
        n_non_mated=int((~measured.mated).sum()),
        items=len(gallery.vectors),
        labels=len(gallery.codes),
        recall={k: recall_at_k(measured, k) for k in RECALL_AT},
        map_at_r=mean_average_precision_at_r(measured),
        threshold=tau,
        decisions=tuple(decision_rates(measured, threshold) for threshold in judged),
        failed=tuple(failed),
    )


def query_sources(queries: Path) -> list[Source]:
    """List the photos of a folder, labelled by their parents' names, or of a CSV `path,label`.

    Raises:
        LookalikeError: There are none, or the CSV can't be read.
    """
    if queries.is_dir():
        sources = [Source(path, parent_name(path)) for path in find_photos(queries)]
    else:
        sources = [Source(path, label) for path, label in read_labels(queries).items()]
    if not sources:
        raise LookalikeError(f"{queries} holds no photos: name a folder or a CSV `path,label`.")
    return sources
