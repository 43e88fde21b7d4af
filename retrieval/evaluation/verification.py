"""How an encoder is judged by pairs of photos known to be the same or different."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.embedding import Embedded, FailedPhoto, Unreadable, embed
from retrieval.encoders import Encoder
from retrieval.errors import LookalikeError
from retrieval.evaluation.pairs import (
    EqualError,
    PairRates,
    area_under_curve,
    equal_error,
    pair_rates,
)
from retrieval.pairing import read_pairs
from retrieval.paths import AnyPath
from retrieval.sources import Source

# Pairs whose vectors are held twice, in float64: 42 MB at 1280 dimensions.
_CHUNK = 2048


@dataclass(frozen=True)
class PairEvaluation:
    """What an evaluation of pairs measured.

    Attributes:
        encoder: The encoder's name.
        pairs: How many pairs were judged.
        n_positive: How many of them show the same.
        n_negative: How many don't.
        photos: How many different photos they are made of.
        auc: Area under the ROC; `None` where a class is absent.
        eer: Where FAR and FRR meet; `None` where a class is absent.
        decisions: The decision at each threshold, ascending.
        left_out: Pairs left out because a photo of theirs could not be read.
        failed: Photos that could not be read.
    """

    encoder: str
    pairs: int
    n_positive: int
    n_negative: int
    photos: int
    auc: float | None
    eer: EqualError | None
    decisions: tuple[PairRates, ...]
    left_out: int
    failed: tuple[FailedPhoto, ...]


@dataclass(frozen=True, eq=False)
class EmbeddedPairs:
    """Pairs of a CSV whose photos were embedded.

    Attributes:
        vectors: float32, shape `(n_photos, dim)`, L2-normalised; zeros where one can't be read.
        content_hashes: SHA-256 of each photo's bytes, in hex; empty where one can't be read.
        first: int64, shape `(n,)`, place of each pair's first photo.
        second: int64, shape `(n,)`, place of its second.
        same: bool, shape `(n,)`, whether both are said to show the same.
        left_out: Pairs left out because a photo of theirs could not be read.
        failed: Photos that could not be read.
    """

    vectors: NDArray[np.float32]
    content_hashes: tuple[str, ...]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]
    left_out: int
    failed: tuple[FailedPhoto, ...]


def evaluate_pairs(
    file: AnyPath,
    encoder: Encoder,
    *,
    thresholds: Sequence[float],
    progress: Callable[[int, int], None] | None = None,
) -> PairEvaluation:
    """Judge an encoder by a CSV of pairs; each different photo is embedded once.

    Args:
        file: A CSV `path_a,path_b,label`; see `read_pairs`.
        encoder: Makes the vectors.
        thresholds: Distances to judge the decision at.
        progress: Told how many photos of how many are done.

    Raises:
        LabelsError: The CSV can't be read, or names a photo that isn't there.
        LookalikeError: No pair of readable photos is left.
    """
    found = embed_pairs(file, encoder, progress=progress)
    same = found.same
    distances = pair_distances(found.vectors, found.first, found.second)
    positive, negative = distances[same], distances[~same]
    return PairEvaluation(
        encoder=encoder.spec.name,
        pairs=len(same),
        n_positive=len(positive),
        n_negative=len(negative),
        photos=len(np.union1d(found.first, found.second)),
        auc=area_under_curve(positive, negative),
        eer=equal_error(positive, negative),
        decisions=tuple(pair_rates(positive, negative, one) for one in sorted({*thresholds})),
        left_out=found.left_out,
        failed=found.failed,
    )


def embed_pairs(
    file: AnyPath, encoder: Encoder, *, progress: Callable[[int, int], None] | None = None
) -> EmbeddedPairs:
    """Embed the photos of a CSV of pairs, each different one once; args are `evaluate_pairs`'s.

    Raises:
        LabelsError: The CSV can't be read, or names a photo that isn't there.
        LookalikeError: No pair of readable photos is left.
    """
    listed = read_pairs(file)
    vectors = np.zeros((len(listed.photos), encoder.spec.dim), dtype=np.float32)
    readable = np.ones(len(listed.photos), dtype=bool)
    hashes = [""] * len(listed.photos)
    failed = []
    for place, one in enumerate(embed(map(Source, listed.photos), encoder)):
        if isinstance(one, Embedded):
            vectors[place] = one.vector
            hashes[place] = one.content.content_hash
        elif isinstance(one, Unreadable):
            readable[place] = False
            failed.append(FailedPhoto(str(one.source.path), one.reason))
        if progress is not None:
            progress(place + 1, len(listed.photos))
    judged = readable[listed.first] & readable[listed.second]
    if not judged.any():
        raise LookalikeError(
            f"No pair in {file} has two photos that can be read; the first that can't: "
            f"{failed[0].path}: {failed[0].reason}."
        )
    return EmbeddedPairs(
        vectors=vectors,
        content_hashes=tuple(hashes),
        first=listed.first[judged],
        second=listed.second[judged],
        same=listed.same[judged],
        left_out=int((~judged).sum()),
        failed=tuple(failed),
    )


def pair_distances(
    vectors: NDArray[np.float32], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Compute the cosine distance of the two vectors of each pair.

    Args:
        vectors: float32, shape `(n_vectors, dim)`, L2-normalised.
        first: int64, shape `(n,)`, places in `vectors`.
        second: The same of the other vectors.

    Returns:
        float32, shape `(n,)`, in [0, 2]; summed in float64, so that a copy's distance is 0.
    """
    distances = np.empty(len(first), dtype=np.float32)
    for start in range(0, len(first), _CHUNK):
        some = slice(start, start + _CHUNK)
        one, other = (vectors[places[some]].astype(np.float64) for places in (first, second))
        distances[some] = 1 - np.einsum("ij,ij->i", one, other)
    return np.clip(distances, 0, 2, out=distances)
