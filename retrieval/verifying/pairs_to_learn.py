"""Where the pairs to learn from come from: a gallery's items, or a CSV of photos."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from db import Store
from retrieval.encoders import Encoder
from retrieval.evaluation.pair_lists import draw_pairs
from retrieval.evaluation.sampling import used_only
from retrieval.evaluation.verification import embed_pairs
from retrieval.pairing import distinct_items
from retrieval.paths import AnyPath
from retrieval.verifying.folds import joined
from retrieval.verifying.training import LearningPairs

GALLERY = "gallery"


def gallery_pairs(store: Store, *, count: int, hard: float, seed: int) -> LearningPairs:
    """Draw pairs among a gallery's labelled items, as `make-pairs` does.

    Raises:
        LookalikeError: There are too few items, labels or hard pairs.
    """
    with store.read() as tx:
        items = distinct_items(tx)
        vectors = items.vectors(tx)
    drawn = draw_pairs(items.identities, count, seed=seed, vectors=vectors, hard=hard)
    used, first, second = used_only(drawn.first, drawn.second)
    return LearningPairs(
        vectors=vectors[used].astype(np.float32),
        identities=items.identities[used],
        first=first,
        second=second,
        same=drawn.same,
        hard=drawn.hard,
        source=GALLERY,
    )


def listed_pairs(
    store: Store,
    file: AnyPath,
    encoder: Encoder,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> LearningPairs:
    """Read pairs from a CSV, and embed their photos.

    Photos show one label where a chain of pairs said to be the same links them, or where both are
    items of one label, by their bytes.

    Raises:
        LookalikeError: The CSV can't be read, or no pair of readable photos is left.
    """
    found = embed_pairs(file, encoder, progress=progress)
    with store.read() as tx:
        stored = {item.content_hash: item.label for item in tx.items() if item.label is not None}
    links = [np.stack([found.first, found.second])[:, found.same]]
    seen: dict[str, int] = {}
    for place, content_hash in enumerate(found.content_hashes):
        label = stored.get(content_hash)
        if label is not None:
            links.append(np.array([[seen.setdefault(label, place)], [place]]))
    shown = joined(len(found.vectors), *np.concatenate(links, axis=1))
    used, first, second = used_only(found.first, found.second)
    return LearningPairs(
        vectors=found.vectors[used],
        identities=shown[used],
        first=first,
        second=second,
        same=found.same,
        hard=np.zeros(len(found.same), dtype=bool),
        source=str(file),
        left_out=found.left_out,
        failed=found.failed,
    )
