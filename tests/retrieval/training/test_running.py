"""A run from photos to an encoder: what it leaves, and that stopped anywhere it leaves the same."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from retrieval import Gallery
from retrieval.encoders.artifact import WEIGHTS, Artifact
from retrieval.errors import LookalikeError
from retrieval.sample import write_sample
from retrieval.training.parts import REHEARSAL, WHOLE, Watcher
from retrieval.training.planning import as_json
from retrieval.training.running import Trained, plan_training, train
from retrieval.training.trainer import Moment
from retrieval.training.wishes import Wishes
from retrieval.training.work_folder import KEPT, PLAN, work_folder

LABELS = ("amber", "crimson", "moss", "navy", "plum")
HUES = dict(zip(LABELS, (45, 348, 110, 230, 290), strict=True))


def draw(label: str, number: int) -> Image.Image:
    rng = np.random.default_rng([LABELS.index(label), number])
    image = Image.new("RGB", (40, 40), f"hsl({HUES[label]}, 60%, {40 + int(rng.integers(20))}%)")
    pen = ImageDraw.Draw(image)
    for _ in range(3):
        x, y = rng.integers(0, 40, 2)
        pen.ellipse([x - 6, y - 6, x + 6, y + 6], fill=f"hsl({int(rng.integers(360))}, 50%, 50%)")
    return image


@pytest.fixture(scope="module")
def many_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five labels of 22 photos, so that one label's are strangers enough for a threshold."""
    folder = tmp_path_factory.mktemp("many") / "photos"
    for label in LABELS:
        (folder / label).mkdir(parents=True)
        for number in range(22):
            draw(label, number).save(folder / label / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def wishes(tiny_checkpoint: Path) -> Wishes:
    return Wishes(
        encoder="timm:test_efficientnet",
        weights=tiny_checkpoint,
        mode="head",
        epochs=2,
        batch=32,
        views=1,
        dim=16,
    )


@dataclass(frozen=True)
class Done:
    out: Path
    trained: Trained


@pytest.fixture(scope="module")
def done(many_photos: Path, wishes: Wishes, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A run that nobody stopped."""
    out = tmp_path_factory.mktemp("done") / "encoder"
    return Done(out, train(many_photos, out, wishes))


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_run_leaves_an_encoder_and_nothing_else(done: Done) -> None:
    assert [one.name for one in done.out.parent.iterdir()] == ["encoder"]
    assert sorted(one.name for one in done.out.iterdir()) == [
        *("encoder.json", "openvino", KEPT, WEIGHTS)
    ]
    kept = sorted(one.name for one in (done.out / KEPT).iterdir())
    assert kept == ["curves.html", "metrics.csv", PLAN]
    assert Artifact.load(done.out).damage() == []


def test_an_encoder_says_what_it_was_made_from(
    done: Done, many_photos: Path, wishes: Wishes, tiny_encoder: Path
) -> None:
    spec = Artifact.load(done.out).spec
    told = spec.provenance["training"]
    assert spec.provenance["weights"] == "trained from tiny.safetensors"
    assert told["network"] == Artifact.load(tiny_encoder).spec.fingerprint
    assert told["labels"] == list(LABELS)
    assert told["asked"]["epochs"] == 2
    assert told["asked"]["weights"] == str(wishes.weights)
    assert told["plan"] == json.loads(json.dumps(as_json(done.trained.plan)))
    assert {"lookalike", "torch", "timm"} <= told["versions"].keys()
    assert len(told["photos"]) == 64
    stored = json.loads((done.out / KEPT / PLAN).read_bytes())
    assert {name: told[name] for name in stored} == stored


def test_what_comes_back_is_what_was_stored(done: Done) -> None:
    spec = Artifact.load(done.out).spec
    trained = done.trained
    assert (trained.path, trained.fingerprint) == (str(done.out), spec.fingerprint)
    assert trained.dim == spec.dim == 256 + 16
    assert trained.before.keys() == trained.after.keys() == {"dir@fpir=0.05", "recall@1"}
    assert spec.provenance["training"]["after"] == trained.after
    assert 1 <= trained.epochs <= 2
    assert trained.failed == ()


def test_the_threshold_travels_with_the_encoder(done: Done) -> None:
    threshold = Artifact.load(done.out).spec.provenance["threshold"]
    assert threshold == done.trained.threshold
    assert threshold["details"]["strangers"] == 22
    assert threshold["details"]["stranger_labels"] == 1
    assert threshold["details"]["fpir"] <= 0.05
    assert threshold["details"]["items"] == done.trained.plan.whole
    assert threshold["objective"] == "fpir=0.05"
    assert len(threshold["calibration"]["scores"]) == 22


def test_the_metrics_hold_every_epoch_of_both_parts(done: Done) -> None:
    with (done.out / KEPT / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["part"] for row in rows] == [REHEARSAL] * 2 + [WHOLE] * done.trained.epochs
    judged = next(row for row in rows if row["epoch"] == str(done.trained.epochs))
    assert float(judged["recall@1"]) == done.trained.after["recall@1"]
    assert "How encoder was trained" in (done.out / KEPT / "curves.html").read_text()


def test_a_gallery_is_built_with_it(done: Done, many_photos: Path, tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "gallery", encoder=str(done.out)) as gallery:
        assert gallery.build(many_photos / "navy").added == 22
        assert gallery.info().fingerprint == done.trained.fingerprint


class StoppedError(Exception):
    pass


@dataclass
class Stopping(Watcher):
    """Stops a run where it is told the nth time of a kind."""

    kind: str
    left: int

    def cached(self, _done: int, _total: int) -> None:
        self._tell("cached")

    def stepped(self, part: str, _moment: Moment) -> None:
        self._tell(part)

    def _tell(self, kind: str) -> None:
        if kind == self.kind:
            self.left -= 1
            if self.left == 0:
                raise StoppedError


def test_a_run_stopped_anywhere_leaves_the_same(
    done: Done, many_photos: Path, wishes: Wishes, tmp_path: Path
) -> None:
    out = tmp_path / "encoder"
    stops = [("cached", 3), ("cached", 9), (REHEARSAL, 2), (REHEARSAL, 2), (WHOLE, 1), (WHOLE, 3)]
    for number, (kind, left) in enumerate(stops):
        watcher = Stopping(kind, left)
        with pytest.raises(StoppedError):
            train(many_photos, out, wishes, resume=number > 0, watcher=watcher)
        assert not out.exists()
    # As a kill would leave it while it is written.
    (work_folder(out) / "encoder" / KEPT).mkdir(parents=True)
    (work_folder(out) / "encoder" / WEIGHTS).write_bytes(b"half")
    trained = train(many_photos, out, wishes, resume=True)
    assert [one.name for one in tmp_path.iterdir()] == ["encoder"]
    ours, theirs = contents(out), contents(done.out)
    # The plan holds what was measured; all else that was made is the same, bit for bit.
    for name in (WEIGHTS, "openvino/float32.bin", f"{KEPT}/metrics.csv"):
        assert ours[name] == theirs[name]
    assert trained.fingerprint == done.trained.fingerprint
    assert trained.threshold == done.trained.threshold


def test_a_run_killed_before_it_was_cleared_away_is_only_cleared(
    done: Done, many_photos: Path, wishes: Wishes
) -> None:
    before = contents(done.out)
    work = work_folder(done.out)
    (work / "cache").mkdir(parents=True)
    (work / PLAN).write_bytes((done.out / KEPT / PLAN).read_bytes())
    never = Stopping("cached", 1)
    trained = train(many_photos, done.out, wishes, resume=True, watcher=never)
    assert replace(trained, seconds=0) == replace(done.trained, seconds=0)
    assert not work.exists()
    assert contents(done.out) == before


def test_rows_kept_for_judging_are_never_learnt_from(
    many_photos: Path, wishes: Wishes, tmp_path: Path
) -> None:
    def fingerprint(judge: str, name: str) -> str:
        rows = [f"{label}/{n:02}.png,{label},train" for label in LABELS[:3] for n in range(4)]
        rows.append(f"{judge},{LABELS[0]},val")
        file = many_photos / f"{name}.csv"
        file.write_text("\n".join(["path,label,split", *rows]), encoding="utf-8")
        asked = replace(wishes, rehearsal=False, epochs=1)
        return train(file, tmp_path / name, asked).fingerprint

    assert fingerprint("amber/07.png", "one") == fingerprint("navy/09.png", "two")


def test_a_plan_writes_nothing(many_photos: Path, wishes: Wishes, tmp_path: Path) -> None:
    broken = many_photos / "navy" / "broken.png"
    broken.write_bytes(b"no picture")
    try:
        before = contents(many_photos.parent)
        plan, failed = plan_training(many_photos, wishes)
        assert contents(many_photos.parent) == before
    finally:
        broken.unlink()
    assert [one.path for one in failed] == [str(broken.resolve())]
    assert plan.photos == 110


def test_a_refusal_leaves_nothing_behind(many_photos: Path, wishes: Wishes, tmp_path: Path) -> None:
    with pytest.raises(LookalikeError):
        train(many_photos, tmp_path / "encoder", replace(wishes, loss_options={"margin": 9}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_training_raises_the_recall_of_photos_it_has_not_seen(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    sample = write_sample(tmp_path / "sample", count=20, strangers=0)

    def recall(encoder: Path, name: str) -> float:
        made = Gallery.create(tmp_path / name, encoder=str(encoder), precision="float32")
        with made as gallery:
            gallery.build(sample.gallery)
            rate = gallery.evaluate(sample.queries).recall[1]
        assert rate is not None
        return rate.value

    asked = Wishes(
        encoder=str(tiny_encoder),
        mode="full",
        epochs=20,
        rate=3e-3,
        rehearsal=False,
        precision="float32",
    )
    train(sample.gallery, tmp_path / "trained", asked)
    before, after = recall(tiny_encoder, "before"), recall(tmp_path / "trained", "after")
    assert after > before + 0.2  # 0.35 and 0.7, of 20 photos
