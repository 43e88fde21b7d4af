"""What photos kept back say of an encoder, by brute force, and the threshold it brings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.evaluation.conformal import promised_threshold
from retrieval.training.judging import HeldOut, beside_pretrained
from retrieval.training.photos import Division

Embedded = Callable[..., NDArray[np.float32]]


def divided(
    train: list[int], known: list[int], strangers: list[int]
) -> tuple[NDArray[np.int64], Division]:
    """Codes of photos in this order, and the division into these three."""
    ends = np.cumsum([len(train), len(known), len(strangers)])
    places = np.split(np.arange(ends[-1]), ends[:-1])
    return np.array([*train, *known, *strangers], dtype=np.int64), Division(*places)


def nearest(
    vectors: NDArray[np.float32], codes: NDArray[np.int64], division: Division
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Distance of each known query to its nearest item, whether that is a mate; of strangers too.

    As for a gallery, whose vectors are kept in sixteen bits.
    """
    gallery = vectors[division.train].astype(np.float16).astype(np.float64)
    known = 1 - vectors[division.known].astype(np.float64) @ gallery.T
    right = codes[division.train][known.argmin(axis=1)] == codes[division.known]
    strange = 1 - vectors[division.strangers].astype(np.float64) @ gallery.T
    return known.min(axis=1), right, strange.min(axis=1, initial=np.inf)


# Below ten labels a gallery's rule is the nearest distance, which is easy to do by hand.
TRAIN = [code for code in range(4) for _ in range(5)]
KNOWN = [code for code in range(4) for _ in range(8)]


@pytest.mark.parametrize("seed", range(4))
def test_figures_and_threshold_by_brute_force(seed: int, embedded: Embedded) -> None:
    strangers = [4] * 30 + [5] * 30
    codes, division = divided(TRAIN, KNOWN, strangers)
    vectors = embedded(codes.tolist(), spread=0.9, seed=seed)
    distances, right, strange = nearest(vectors, codes, division)
    held_out = HeldOut(vectors, codes, division)
    figures = held_out.figures()
    assert list(figures) == ["recall@1", "dir@fpir=0.05"]  # sixty strangers don't show one in 100
    assert figures["recall@1"] == pytest.approx(right.mean())
    # Three of sixty may pass: all that is nearer than the fourth nearest is accepted.
    limit = np.sort(strange)[3]
    assert figures["dir@fpir=0.05"] == pytest.approx((right & (distances < limit)).mean())
    threshold = held_out.threshold()
    assert threshold is not None
    tau, details = threshold["value"], threshold["details"]
    assert threshold["rule"] == "nearest"
    assert threshold["objective"] == "fpir=0.05"
    assert not details["promised"]  # two labels are too few
    assert details["fpir"] == pytest.approx((strange < tau).mean()) == pytest.approx(0.05)
    assert details["dir"] == pytest.approx((right & (distances < tau)).mean())
    counts = {"n_mated": 32, "n_non_mated": 60, "strangers": 60, "stranger_labels": 2}
    assert {name: details[name] for name in counts} == counts


def test_from_ten_labels_on_the_rule_is_that_of_trained_encoders(embedded: Embedded) -> None:
    train, known = ([code for code in range(10) for _ in range(count)] for count in (5, 2))
    codes, division = divided(train, known, [10] * 30 + [11] * 30)
    threshold = HeldOut(embedded(codes.tolist(), spread=0.9), codes, division).threshold()
    assert threshold is not None
    assert threshold["rule"] == "rivals"


def test_with_labels_enough_the_threshold_is_that_of_a_promise(embedded: Embedded) -> None:
    codes, division = divided(TRAIN, KNOWN, [4 + n // 3 for n in range(60)])
    vectors = embedded(codes.tolist(), spread=0.9)
    threshold = HeldOut(vectors, codes, division).threshold()
    assert threshold is not None
    # Of the rehearsal's encoder it would be one, but not of the one that comes of all photos.
    assert threshold["details"]["rehearsed"]
    assert not threshold["details"]["promised"]
    strange = nearest(vectors, codes, division)[2].astype(np.float32)
    promised = promised_threshold(strange, codes[division.strangers], 0.05)
    assert threshold["value"] == pytest.approx(promised.value, abs=1e-5)
    assert threshold["details"]["stranger_labels"] == 20


def test_the_calibration_says_how_surprising_a_score_is(embedded: Embedded) -> None:
    codes, division = divided(TRAIN, KNOWN, [4 + n // 3 for n in range(60)])
    vectors = embedded(codes.tolist(), spread=0.9)
    distances, right, strange = nearest(vectors, codes, division)
    threshold = HeldOut(vectors, codes, division).threshold()
    assert threshold is not None
    kept = threshold["calibration"]
    assert kept["scores"] == pytest.approx(np.unique(strange), abs=1e-5)
    for score, p_value, found in zip(kept["scores"], kept["p_values"], kept["dirs"], strict=True):
        # The share of each label's photos that score as low, averaged, with one label for luck.
        shares = (strange.reshape(20, 3) <= score + 1e-6).mean(axis=1)
        assert p_value == pytest.approx((shares.sum() + 1) / 21)
        assert found == pytest.approx((right & (distances <= score)).mean())


@pytest.mark.parametrize("strangers", [0, 19])
def test_few_strangers_tune_no_threshold(strangers: int, embedded: Embedded) -> None:
    codes, division = divided(TRAIN, KNOWN, [4] * strangers)
    held_out = HeldOut(embedded(codes.tolist()), codes, division)
    assert held_out.threshold() is None
    assert list(held_out.figures()) == ["recall@1"]


def test_strangers_of_different_labels_are_no_mates(embedded: Embedded) -> None:
    codes, division = divided([0, 1], [0, 1], [2] * 20)
    vectors = embedded(codes.tolist(), spread=0.01)
    vectors[division.strangers] = vectors[0]  # nearer than any known photo
    figures = HeldOut(vectors, codes, division).figures()
    assert figures["recall@1"] == 1
    assert figures["dir@fpir=0.05"] == 0


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_side_by_side_each_decides_its_share(share: float, embedded: Embedded) -> None:
    learnt, pretrained = embedded([0, 1, 2], seed=1), embedded([0, 1, 2], seed=2)
    both = beside_pretrained(learnt, pretrained, share).astype(np.float64)
    expected = share * (1 - learnt @ learnt.T) + (1 - share) * (1 - pretrained @ pretrained.T)
    assert np.allclose(1 - both @ both.T, expected, atol=1e-6)
    assert np.allclose(np.linalg.norm(both, axis=1), 1, atol=1e-6)
