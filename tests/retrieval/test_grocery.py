"""The main job on real photos gives the published reference values."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval import BuildReport, Gallery
from retrieval.embedding import Embedded, embed
from retrieval.encoders import Artifact, open_encoder
from retrieval.sources import Source

# recall@1, recall@5, recall@10, MAP@R in float32, gallery = train, queries = val.
REFERENCE = {
    "efficientnet_lite0": (0.554, 0.818, 0.902, 0.274),
    "efficientnet_lite2": (0.618, 0.841, 0.905, 0.309),
}

Built = Callable[[str, str], tuple[Path, BuildReport]]

pytestmark = [pytest.mark.grocery, pytest.mark.slow]


@pytest.mark.parametrize(
    ("encoder", "precision"),
    [
        ("efficientnet_lite0", "float32"),
        ("efficientnet_lite0", "auto"),
        ("efficientnet_lite2", "auto"),
    ],
)
def test_the_reference_values(
    encoder: str, precision: str, grocery_gallery: Built, grocery: Path
) -> None:
    path, report = grocery_gallery(encoder, precision)
    assert (report.added, report.failed) == (2640, [])
    with Gallery.open(path) as gallery:
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
    grocery_gallery: Built, grocery: Path, tmp_path: Path
) -> None:
    def stored(precision: str) -> np.ndarray:
        with (
            Gallery.open(grocery_gallery("efficientnet_lite0", precision)[0]) as gallery,
            gallery._store.read() as tx,
        ):
            return np.concatenate([part.data for part in tx.vectors()]).astype(np.float32)

    def vectors(made: Artifact, precision: str, photos: list[Path]) -> np.ndarray:
        encoder = open_encoder(made, precision=precision)
        outcomes = list(embed((Source(path) for path in photos), encoder))
        assert all(isinstance(one, Embedded) for one in outcomes)
        return np.stack([one.vector for one in outcomes])

    path, _ = grocery_gallery("efficientnet_lite0", "float32")
    artifact = Artifact.load(path / "encoder")
    plain = artifact.copy_to(tmp_path / "plain")
    for suffix in (".xml", ".bin"):  # the weights as they are, left to the CPU to round
        source = plain.folder / "openvino" / f"float32{suffix}"
        shutil.copyfile(source, plain.folder / "openvino" / f"bfloat16{suffix}")
    photos = sorted(grocery.glob("val/**/*.jpg"))
    exact = vectors(artifact, "float32", photos)
    corrected = 1 - (exact * vectors(artifact, "bfloat16", photos)).sum(axis=1)
    rounded = 1 - (exact * vectors(plain, "bfloat16", photos)).sum(axis=1)
    assert len(corrected) == 296
    assert corrected.max() < 0.01
    assert corrected.mean() < 0.6 * rounded.mean()
    # Where the CPU has no bfloat16, both are float32.
    of_train = 1 - (stored("float32") * stored("auto")).sum(axis=1)
    assert len(of_train) == 2640
    assert of_train.max() < 0.01
