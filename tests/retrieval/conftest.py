"""What tests of evaluations share: galleries of drawn vectors, judged by their own items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import numpy as np
import pytest

from db import Item, Threshold
from retrieval.encoders import Encoder
from retrieval.evaluation.distances import GalleryVectors
from retrieval.evaluation.protocol import Evaluation, Judged, OpenSetPlan, evaluate


def _no_encoder() -> Encoder:
    raise AssertionError("nothing is to be encoded")


def _judge(
    labels: Sequence[str | None],
    *,
    threshold: float | None = None,
    open_set: OpenSetPlan | None = None,
    seed: int = 0,
    apart: float = 1.0,
    rule: str = "nearest",
) -> tuple[Evaluation, Judged]:
    generator = np.random.default_rng(seed)
    names = sorted({label for label in labels if label is not None})
    centres = dict(zip(names, generator.normal(size=(len(names), 8)), strict=True))
    vectors = generator.normal(size=(len(labels), 8))
    vectors += [apart * centres.get(label, np.zeros(8)) for label in labels]  # type: ignore[arg-type]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    today = datetime(2026, 1, 2)
    items = [
        Item(
            path=f"/photos/{label}/{number}.png",
            content_hash=f"{number:064x}",
            width=8,
            height=8,
            file_size=8,
            mtime_ns=0,
            label=label,
            source_label=label,
            metadata={},
            id=number + 1,
            added_at=today,
        )
        for number, label in enumerate(labels)
    ]
    codes = {name: code for code, name in enumerate(names)}
    shown = [-item.id if item.label is None else codes[item.label] for item in items]
    gallery = GalleryVectors(
        vectors=vectors.astype(np.float16),
        identities=np.array(shown, dtype=np.int64),
        items=items,
        codes=codes,
    )
    stored = None
    if threshold is not None:
        stored = Threshold(threshold, rule, "fpir=0.05", "gallery", "", {}, {}, today)
    return evaluate(gallery, stored, None, _no_encoder, open_set=open_set)


@pytest.fixture(scope="session")
def judge() -> Callable[..., tuple[Evaluation, Judged]]:
    """Judge a gallery of drawn vectors by its own labelled items.

    A label with one item has no mate: its item is a stranger.
    """
    return _judge
