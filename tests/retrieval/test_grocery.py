"""The main job on real photos gives the published reference values."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from retrieval import Gallery
from retrieval.embedding import Embedded, embed
from retrieval.encoders import Artifact, open_encoder
from retrieval.encoders.factory import make_artifact
from retrieval.sources import Source

# recall@1, recall@5, recall@10, MAP@R in float32, gallery = train, queries = val.
REFERENCE = {
    "efficientnet_lite0": (0.554, 0.818, 0.902, 0.274),
    "efficientnet_lite2": (0.618, 0.841, 0.905, 0.309),
}

pytestmark = [pytest.mark.grocery, pytest.mark.slow]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Artifact]:
    """Make each published encoder once."""

    @cache
    def make(encoder: str) -> Artifact:
        return make_artifact(encoder, tmp_path_factory.mktemp("encoders") / encoder)

    return make


@pytest.mark.parametrize("precision", ["float32", "auto"])
@pytest.mark.parametrize("encoder", REFERENCE)
def test_the_reference_values(
    encoder: str,
    precision: str,
    artifacts: Callable[[str], Artifact],
    grocery: Path,
    tmp_path: Path,
) -> None:
    folder = str(artifacts(encoder).folder)
    with Gallery.create(tmp_path / "gallery", encoder=folder, precision=precision) as gallery:
        report = gallery.build(grocery / "train")
        assert (report.added, report.failed) == (2640, [])
        info = gallery.info()
        assert (info.items, info.labels, info.unlabelled) == (2640, 81, 0)
        evaluation = gallery.evaluate(grocery / "val")
        assert (evaluation.n_mated, evaluation.n_non_mated) == (296, 0)
        recalls = [rate.value for rate in evaluation.recall.values() if rate]
        measured = (*recalls, evaluation.map_at_r)
        # The references are rounded to three places.
        assert measured == pytest.approx(REFERENCE[encoder], abs=0.01 + 0.0005)
        threshold = gallery.threshold()
        assert threshold is not None
        assert threshold.details["fpir"] <= 0.05
        if encoder == "efficientnet_lite0":
            assert gallery.check().clean
            again = gallery.build(grocery / "train")
            assert (again.added, again.unchanged, again.touched) == (0, 2640, 0)


def test_every_photo_keeps_its_direction_in_bfloat16(
    artifacts: Callable[[str], Artifact], grocery: Path, tmp_path: Path
) -> None:
    artifact = artifacts("efficientnet_lite0")
    plain = artifact.copy_to(tmp_path / "plain")
    for suffix in (".xml", ".bin"):  # the weights as they are, left to the CPU to round
        source = plain.folder / "openvino" / f"float32{suffix}"
        shutil.copyfile(source, plain.folder / "openvino" / f"bfloat16{suffix}")
    photos = sorted(grocery.glob("*/**/*.jpg"))

    some = len(photos) // 10  # enough to compare the two ways of rounding by

    def vectors(made: Artifact, precision: str, count: int) -> np.ndarray:
        encoder = open_encoder(made, precision=precision)
        outcomes = list(embed((Source(path) for path in photos[:count]), encoder))
        assert all(isinstance(one, Embedded) for one in outcomes)
        return np.stack([one.vector for one in outcomes])

    exact = vectors(artifact, "float32", len(photos))
    corrected = 1 - (exact * vectors(artifact, "bfloat16", len(photos))).sum(axis=1)
    rounded = 1 - (exact[:some] * vectors(plain, "bfloat16", some)).sum(axis=1)
    assert len(corrected) >= 2936
    assert corrected.max() < 0.01
    assert corrected[:some].mean() < 0.6 * rounded.mean()
