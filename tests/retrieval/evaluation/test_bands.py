"""DIR over FPIR: the curve is the table's figure at every FPIR, the band what its draws span."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.evaluation.bands import DirByFpir, band_of_labels, band_of_repeats, label_codes
from retrieval.evaluation.decisions import Searches, decision_curve, dir_at_fpir

SCORES = st.sampled_from([0.0, 0.1, 0.25, 0.25, 0.5, float("inf")])


def made(rows: list[tuple[float, bool, bool]]) -> Searches:
    scores, right, mated = zip(*rows, strict=True) if rows else ((), (), ())
    known = np.array(mated, bool)
    return Searches(np.array(scores, np.float32), np.array(right, bool) & known, known)


ROWS = st.lists(st.tuples(SCORES, st.booleans(), st.booleans()), max_size=12)


def expected(searches: Searches, fpir: float) -> float:
    """Try every threshold there is: the largest that keeps FPIR tells DIR."""
    strangers, known = searches.score[~searches.mated], searches.score[searches.mated]
    right = searches.score[searches.mated & searches.right]
    if not len(known) or fpir * len(strangers) < 1 - 1e-9:
        return np.nan
    thresholds = [0.0, *(float(score) + 1e-3 for score in searches.score if np.isfinite(score))]
    kept = [tau for tau in thresholds if (strangers < tau).sum() <= fpir * len(strangers) + 1e-9]
    return float((right < max(kept)).sum() / len(known))


@given(ROWS, st.lists(st.sampled_from([0.1, 0.2, 0.25, 1 / 3, 0.5, 1.0]), min_size=1))
def test_the_curve_is_the_figure_of_the_table(
    rows: list[tuple[float, bool, bool]], shares: list[float]
) -> None:
    searches = made(rows)
    found = DirByFpir(searches).at(shares)
    for share, value in zip(shares, found.tolist(), strict=True):
        told = dir_at_fpir(decision_curve(searches), share).dir
        assert value == pytest.approx(np.nan if told is None else told, nan_ok=True)
        assert value == pytest.approx(expected(searches, share), nan_ok=True)


@given(ROWS.flatmap(lambda rows: st.tuples(st.just(rows), st.lists(st.integers(0, 3)))))
def test_a_search_that_counts_twice_is_two(
    given_: tuple[list[tuple[float, bool, bool]], list[int]],
) -> None:
    rows, drawn = given_
    counts = (drawn + [1] * len(rows))[: len(rows)]
    again = [row for row, count in zip(rows, counts, strict=True) for _ in range(count)]
    grid = np.array([0.1, 0.25, 0.5, 1.0])
    np.testing.assert_array_equal(
        DirByFpir(made(rows)).at(grid, np.array(counts, np.int64)), DirByFpir(made(again)).at(grid)
    )


def test_a_share_is_not_missed_by_rounding() -> None:
    rows = [(0.0, False, False)] * 29 + [(0.5, True, True)] + [(0.75, False, False)] * 71
    assert DirByFpir(made(rows)).at([0.28, 0.29]).tolist() == [0.0, 1.0]


def drawn_searches(seed: int, n: int, strangers: int) -> Searches:
    generator = np.random.default_rng(seed)
    mated = np.arange(n) >= strangers
    scores = np.round(generator.uniform(size=n) + 0.3 * ~mated, 2).astype(np.float32)
    return Searches(scores, mated & (generator.uniform(size=n) < 0.7), mated)


def test_the_band_over_repeats_is_their_mean_and_quantiles() -> None:
    repeats = [drawn_searches(seed, 40, strangers) for seed, strangers in enumerate((10, 12, 8))]
    band = band_of_repeats([*repeats, drawn_searches(9, 5, 0)])
    assert band is not None
    assert (band.repeats, band.n_mated, band.n_non_mated) == (3, 30, 10)
    assert (band.fpir[0], band.fpir[-1]) == (pytest.approx(0.1), 1)
    for place, fpir in enumerate(band.fpir.tolist()):
        values = [v for v in (expected(one, fpir) for one in repeats) if not np.isnan(v)]
        assert len(values) == (3 if fpir >= 1 / 8 - 1e-9 else 2)
        assert band.dir[place] == pytest.approx(np.mean(values))
        ends = np.quantile(values, [0.025, 0.975])
        assert (band.low[place], band.high[place]) == pytest.approx(tuple(ends))


def test_the_band_over_labels_draws_labels_with_all_their_photos() -> None:
    searches = drawn_searches(3, 24, 8)
    labels = [None if place % 6 == 5 else f"l{place % 4}" for place in range(24)]
    band = band_of_labels(searches, labels, resamples=20, seed=5)
    assert band is not None
    assert (band.repeats, band.n_mated, band.n_non_mated) == (None, 16, 8)
    places: dict[object, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(label or place, []).append(place)
    groups = list(places.values())
    generator = np.random.default_rng(5)
    rows = []
    for _ in range(20):
        drawn = generator.integers(len(groups), size=len(groups)).tolist()
        again = [place for group in drawn for place in groups[group]]
        one = Searches(searches.score[again], searches.right[again], searches.mated[again])
        rows.append([expected(one, fpir) for fpir in band.fpir.tolist()])
    np.testing.assert_allclose(
        [band.low, band.high], np.nanquantile(rows, [0.025, 0.975], axis=0), rtol=1e-12
    )
    np.testing.assert_allclose(band.dir, [expected(searches, f) for f in band.fpir.tolist()])


def test_equal_seeds_draw_alike_and_others_do_not() -> None:
    searches = drawn_searches(3, 40, 20)
    labels = [f"l{place % 9}" for place in range(40)]
    one, two, other = (band_of_labels(searches, labels, resamples=50, seed=s) for s in (1, 1, 2))
    assert one is not None
    assert two is not None
    assert other is not None
    np.testing.assert_array_equal(one.low, two.low)
    assert (one.low != other.low).any()


def test_without_strangers_or_known_photos_there_is_no_curve() -> None:
    known = made([(0.1, True, True)])
    strangers = made([(0.1, False, False)])
    for searches in (known, strangers, made([])):
        assert band_of_repeats([searches]) is None
        assert band_of_labels(searches, ["a"] * len(searches)) is None
    assert band_of_repeats([]) is None


def test_one_stranger_shows_one_fpir() -> None:
    band = band_of_repeats([made([(0.1, True, True), (0.5, False, False)])])
    assert band is not None
    assert (band.fpir.tolist(), band.dir.tolist()) == ([1], [1])


def test_photos_without_a_label_are_labels_of_their_own() -> None:
    assert label_codes([]).shape == (0,)
    assert label_codes([None, "a", None, "a"]).tolist() == [0, 1, 2, 1]
