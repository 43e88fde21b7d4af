"""Features of pairs: which photo comes first makes no difference."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retrieval.verifying.features import Projection, pair_features


def unit_vectors(seed: int, n: int, dim: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@given(seed=st.integers(0, 2**32 - 1), dim=st.integers(2, 40), components=st.integers(0, 12))
def test_either_photo_may_come_first(seed: int, dim: int, components: int) -> None:
    vectors = unit_vectors(seed, 10, dim)
    projection = Projection.fit(vectors, components)
    first, second = np.arange(5), np.arange(5, 10)
    one = pair_features(vectors, first, second, projection)
    other = pair_features(vectors, second, first, projection)
    np.testing.assert_array_equal(one, other)
    assert one.dtype == np.float32
    kept = components if 0 < components < dim else dim
    assert one.shape == (5, 2 * kept + 1)


def test_the_features_are_differences_products_and_the_distance() -> None:
    vectors = np.array([[0.6, 0.8], [1.0, 0.0]], dtype=np.float32)
    (found,) = pair_features(vectors, np.array([0]), np.array([1]), None)
    np.testing.assert_allclose(found, [0.4, 0.8, 0.6, 0.0, 0.4], atol=1e-6)


def test_a_pair_has_the_same_features_in_any_batch() -> None:
    vectors = unit_vectors(1, 3000, 20)
    projection = Projection.fit(vectors, 4)
    first, second = np.arange(2500), np.arange(500, 3000)
    together = pair_features(vectors, first, second, projection)
    for place in (0, 2047, 2048, 2499):
        alone = pair_features(
            vectors[[first[place], second[place]]], np.array([0]), np.array([1]), projection
        )
        np.testing.assert_allclose(alone[0], together[place], rtol=0, atol=1e-7)


def test_the_projection_is_the_principal_component_analysis() -> None:
    from sklearn.decomposition import PCA

    vectors = unit_vectors(2, 200, 30)
    projection = Projection.fit(vectors, 5)
    assert projection is not None
    theirs = PCA(5, svd_solver="full").fit(vectors.astype(np.float64))
    np.testing.assert_allclose(
        np.abs(projection(vectors)), np.abs(theirs.transform(vectors)), atol=1e-5
    )
