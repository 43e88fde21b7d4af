"""What another encoder would change, measured before one switches: encoders side by side.

Every encoder embeds the same items and the same queries, so that figures differ by the encoder
alone. Nothing is written into the gallery.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from db import Store
from retrieval.belonging import require_same
from retrieval.building import Progress
from retrieval.embedding import Embedded, FailedPhoto
from retrieval.encoders import Encoder
from retrieval.errors import GalleryError, LookalikeError
from retrieval.evaluation.distances import GalleryVectors, gallery_vectors
from retrieval.evaluation.drawing import draw_items, draw_whole
from retrieval.evaluation.inputs import Queries, read_queries
from retrieval.evaluation.metrics import Rate
from retrieval.evaluation.openset import OpenSetPoint
from retrieval.evaluation.protocol import Evaluation, Judged, OpenSetPlan, evaluate
from retrieval.new_vectors import embed_items
from retrieval.paths import AnyPath
from retrieval.reembedding import CURRENT

# A fifth of the labels is hidden, ten times, and DIR is told where so many strangers pass.
_HIDDEN, _REPEATS = 0.2, 10
_FPIRS = (0.01, 0.05, 0.1)
# Changed answers shown of each encoder.
_EXAMPLES = 5


@dataclass(frozen=True)
class ComparedEncoder:
    """How one encoder does.

    Attributes:
        asked: What it was asked for by.
        name: Its name.
        fingerprint: Its fingerprint.
        dim: Length of its vectors.
        recall: Recall@k by k; `None` without mated queries.
        map_at_r: MAP@R; `None` without mated queries.
        dir_at_fpir: DIR where 1, 5 and 10 % of strangers pass, a fifth of the labels hidden ten
            times; empty where there are fewer than two labels.
        photos_per_second: How fast it embedded the items, reading included; `None` where the stored
            vectors were taken.
        changed: How many queries have another nearest identity than with the first encoder.
        examples: The first few of them.
    """

    asked: str
    name: str
    fingerprint: str
    dim: int
    recall: dict[int, Rate | None]
    map_at_r: float | None
    dir_at_fpir: tuple[OpenSetPoint, ...]
    photos_per_second: float | None
    changed: int
    examples: tuple[ChangedAnswer, ...]


@dataclass(frozen=True)
class ChangedAnswer:
    """A query that another encoder answers otherwise.

    Attributes:
        query: The photo.
        label: What it shows; `None` where nobody said.
        before: The label of the nearest item with the first encoder, or the path of one without a
            label; `None` where nothing was eligible.
        after: The same with the other encoder.
    """

    query: str
    label: str | None
    before: str | None
    after: str | None


@dataclass(frozen=True)
class EncoderComparison:
    """Encoders side by side.

    Attributes:
        items: How many items took part.
        of_items: How many the gallery has.
        labels: How many labels these items have.
        queries: How many queries were asked.
        n_mated: How many of them have a mate among the items.
        rule: The rule whose scores DIR was measured by.
        seed: Drew the items and the hidden labels.
        encoders: The encoders, in the order asked for.
        failed: Items and queries left out, as their photo can't be read or has changed.
    """

    items: int
    of_items: int
    labels: int
    queries: int
    n_mated: int
    rule: str
    seed: int
    encoders: tuple[ComparedEncoder, ...]
    failed: tuple[FailedPhoto, ...]


@dataclass(frozen=True, eq=False)
class _Measured:
    """What was measured of one encoder."""

    name: str
    fingerprint: str
    dim: int
    evaluation: Evaluation
    judged: Judged
    photos_per_second: float | None


def compare_encoders(
    store: Store,
    open_current: Callable[[], Encoder],
    encoders: Sequence[str],
    *,
    queries: AnyPath | None,
    limit: int | None,
    seed: int,
    device: str,
    progress: Progress | None,
) -> EncoderComparison:
    """Measure encoders on a gallery's items; see `Gallery.compare`."""
    from retrieval.encoders.factory import borrowed_encoder

    if not encoders:
        raise GalleryError("There is no encoder to compare: name one or more.")
    asked = None if queries is None else read_queries(queries)
    with store.read() as tx:
        stored, mine = gallery_vectors(tx), tx.encoder
    items = _draw(stored, limit, seed, whole=asked is None)
    others = [name for name in dict.fromkeys(encoders) if name not in (CURRENT, mine.fingerprint)]
    told = _Told(len(others) * len(items.items), progress)
    failed: list[FailedPhoto] = []
    measured: dict[str, _Measured] = {}
    for name in others:
        with borrowed_encoder(name, device=device) as encoder:
            items, rate, unusable = _embed_items(items, encoder, told)
            if unusable and measured:
                raise LookalikeError(
                    f"{unusable[0].path} was changed while encoders were compared: run it again."
                )
            failed += unusable
            measured[name] = _measure(items, asked, encoder, seed, rate)
    if len(others) < len(set(encoders)):

        def current() -> Encoder:
            encoder = open_current()
            require_same(mine, encoder.spec.fingerprint)
            return encoder

        kept = {item.id for item in items.items}
        places = [place for place, item in enumerate(stored.items) if item.id in kept]
        items = _among(stored, np.array(places, dtype=np.int64))
        evaluation, judged = _evaluate(items, asked, current, seed)
        in_force = _Measured(mine.name, mine.fingerprint, mine.dim, evaluation, judged, None)
        measured |= {CURRENT: in_force, mine.fingerprint: in_force}
    return _side_by_side(
        [(name, measured[name]) for name in encoders], len(stored.items), seed, failed
    )


class _Told:
    """Counts photos over several encoders."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total = 0, total
        self._progress = progress or (lambda _done, _total: None)

    def one(self) -> None:
        self._done += 1
        self._progress(self._done, self._total)


def _draw(gallery: GalleryVectors, limit: int | None, seed: int, *, whole: bool) -> GalleryVectors:
    """Draw the items: whole labels where they are to find each other, else some of every label."""
    if limit is None or limit >= len(gallery.items):
        return gallery
    if limit < 1:
        raise GalleryError(f"The limit is {limit}: take at least 1 item.")
    draw = draw_whole if whole else draw_items
    return _among(gallery, draw(gallery.identities, limit, seed))


def _among(gallery: GalleryVectors, places: NDArray[np.int64]) -> GalleryVectors:
    items = [gallery.items[place] for place in places]
    labels = sorted({item.label for item in items if item.label is not None})
    codes = {label: code for code, label in enumerate(labels)}
    shown = [-item.id if item.label is None else codes[item.label] for item in items]
    return GalleryVectors(gallery.vectors[places], np.array(shown, dtype=np.int64), items, codes)


def _embed_items(
    gallery: GalleryVectors, encoder: Encoder, told: _Told
) -> tuple[GalleryVectors, float, list[FailedPhoto]]:
    """Embed a gallery's items anew; those that can't be are left out."""
    size = encoder.spec.preprocessing.size
    # The first batch compiles the network, which says nothing of its speed.
    encoder.submit(np.zeros((encoder.batch_size, size, size, 3), dtype=np.uint8)).result()
    vectors = np.empty((len(gallery.items), encoder.spec.dim), dtype=np.float16)
    places: list[int] = []
    failed: list[FailedPhoto] = []
    started = time.perf_counter()
    for place, (_, outcome) in enumerate(embed_items(gallery.items, encoder)):
        if isinstance(outcome, Embedded):
            vectors[place] = outcome.vector
            places.append(place)
        else:
            failed.append(outcome)
        told.one()
    rate = len(places) / (time.perf_counter() - started)
    if not places:
        raise LookalikeError(
            "None of the gallery's photos can be read at its path, so no encoder can embed them: "
            "put them back."
        )
    embedded = replace(gallery, vectors=vectors)
    return _among(embedded, np.array(places, dtype=np.int64)), rate, failed


def _measure(
    items: GalleryVectors, asked: Queries | None, encoder: Encoder, seed: int, rate: float
) -> _Measured:
    evaluation, judged = _evaluate(items, asked, lambda: encoder, seed)
    spec = encoder.spec
    return _Measured(spec.name, spec.fingerprint, spec.dim, evaluation, judged, rate)


def _evaluate(
    items: GalleryVectors, asked: Queries | None, open_encoder: Callable[[], Encoder], seed: int
) -> tuple[Evaluation, Judged]:
    plan = OpenSetPlan(_HIDDEN, _REPEATS, seed) if len(items.codes) > 1 else None
    return evaluate(items, None, asked, open_encoder, open_set=plan)


def _side_by_side(
    measured: list[tuple[str, _Measured]], of_items: int, seed: int, failed: list[FailedPhoto]
) -> EncoderComparison:
    first = measured[0][1]
    if any(one.judged.paths != first.judged.paths for _, one in measured):
        raise LookalikeError("The queries were changed while encoders were compared: run it again.")
    evaluation = first.evaluation
    return EncoderComparison(
        items=evaluation.items,
        of_items=of_items,
        labels=evaluation.labels,
        queries=evaluation.queries,
        n_mated=evaluation.n_mated,
        rule=evaluation.rule,
        seed=seed,
        encoders=tuple(_compared(asked, one, first) for asked, one in measured),
        failed=(*failed, *evaluation.failed),
    )


def _compared(asked: str, one: _Measured, first: _Measured) -> ComparedEncoder:
    open_set = one.evaluation.open_set
    before, after = _nearest(first.judged), _nearest(one.judged)
    shown = one.judged.gallery.identities
    other = shown[before] != shown[after]
    # Where nothing was eligible there is no identity to compare.
    other = np.where((before < 0) | (after < 0), before != after, other)
    changed = np.flatnonzero(other)
    return ComparedEncoder(
        asked=asked,
        name=one.name,
        fingerprint=one.fingerprint,
        dim=one.dim,
        recall=one.evaluation.recall,
        map_at_r=one.evaluation.map_at_r,
        dir_at_fpir=tuple(
            point for point in (open_set.points if open_set else ()) if point.fpir in _FPIRS
        ),
        photos_per_second=one.photos_per_second,
        changed=len(changed),
        examples=tuple(
            ChangedAnswer(
                query=str(one.judged.paths[query]),
                label=one.judged.labels[query],
                before=_shown(one.judged, int(before[query])),
                after=_shown(one.judged, int(after[query])),
            )
            for query in changed[:_EXAMPLES]
        ),
    )


def _nearest(judged: Judged) -> NDArray[np.int64]:
    """Return the position of each query's nearest eligible item; -1 without one."""
    return np.where(judged.searches.right, judged.compared.mate, judged.compared.rival)


def _shown(judged: Judged, place: int) -> str | None:
    if place < 0:
        return None
    item = judged.gallery.items[place]
    return item.path if item.label is None else item.label
