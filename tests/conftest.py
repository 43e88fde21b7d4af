"""What tests share: a tiny real encoder, drawn photos, galleries of them, the Grocery photos."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from milvus_server import LentMilvus, MilvusProcess
from object_store import KEY_ID, SECRET, Bucket, ObjectServer
from PIL import Image, ImageDraw
from postgres_server import PostgresServer

from retrieval import BuildReport, Gallery

COLOURS = {"red": (200, 30, 30), "green": (30, 170, 40), "blue": (40, 60, 220)}

# Nothing may reach for a hub: the published weights are never needed here.
os.environ["HF_HUB_OFFLINE"] = "1"
# Tests run side by side: threads that fight for the same cores make all of them slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is no failure.
settings.register_profile("lookalike", deadline=None)
settings.load_profile("lookalike")


@pytest.fixture(autouse=True, scope="session")
def _home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Files of shared galleries are kept apart from the user's own."""
    os.environ["LOOKALIKE_HOME"] = str(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server with pgvector, for tests that leave it running."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that a test may kill."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def lent_milvus() -> Iterator[LentMilvus]:
    """The Milvus server of this worker, while there is one: a machine holds one at a time."""
    lent = LentMilvus()
    yield lent
    lent.give_back()


@pytest.fixture(scope="module")
def milvus_server(lent_milvus: LentMilvus) -> MilvusProcess:
    """A Milvus server, for tests that leave it running."""
    return lent_milvus.take()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of an empty PostgreSQL database."""
    return postgres_server.new_database()


@pytest.fixture(scope="session")
def object_server() -> Iterator[ObjectServer]:
    """A server that speaks S3."""
    with ObjectServer() as server:
        yield server


@pytest.fixture
def bucket(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket, with the environment that leads there."""
    from retrieval import remote

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", object_server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    remote.forget_stores()
    made = Bucket(object_server, f"photos-{uuid.uuid4().hex}")
    object_server.forget()
    yield made
    made.close()
    remote.forget_stores()


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of timm's smallest EfficientNet, with weights drawn from a seed."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    module = timm.create_model("test_efficientnet", pretrained=False)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_file(module.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def tiny_encoder(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a real encoder that loads and runs in milliseconds."""
    from retrieval.encoders.factory import make_artifact

    folder = tmp_path_factory.mktemp("encoder") / "tiny"
    make_artifact("timm:test_efficientnet", folder, weights=tiny_checkpoint)
    return folder


@pytest.fixture(scope="session")
def second_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of another real encoder, as quick, whose vectors are as long as the tiny one's."""
    import timm
    import torch
    from safetensors.torch import save_file

    from retrieval.encoders.factory import make_artifact

    torch.manual_seed(1)
    module = timm.create_model("test_efficientnet", pretrained=False)
    folder = tmp_path_factory.mktemp("second")
    save_file(module.state_dict(), folder / "second.safetensors")
    weights = folder / "second.safetensors"
    return make_artifact("timm:test_efficientnet", folder / "encoder", weights=weights).folder


def draw(colour: str, number: int, *, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """Draw a picture: mostly one colour, never twice the same."""
    rng = np.random.default_rng([number, *COLOURS[colour]])
    image = Image.new("RGB", size, COLOURS[colour])
    pen = ImageDraw.Draw(image)
    for _ in range(4):
        x, y = rng.integers(0, size[0]), rng.integers(0, size[1])
        shade = tuple(
            int(v) for v in np.clip(np.array(COLOURS[colour]) * rng.uniform(0.6, 1.4), 0, 255)
        )
        pen.ellipse([x - 8, y - 8, x + 8, y + 8], fill=shade)
    return image


@pytest.fixture(scope="session")
def draw_photo() -> Callable[..., Image.Image]:
    """The function that draws a picture of a colour (`red`, `green`, `blue`) by number."""
    return draw


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder `photos/COLOUR/N.png` with five pictures of each of three colours."""
    folder = tmp_path / "photos"
    for colour in COLOURS:
        (folder / colour).mkdir(parents=True)
        for number in range(5):
            draw(colour, number).save(folder / colour / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that needs a gallery puts one for all of them."""
    return tmp_path_factory.mktemp("template") / "gallery"


@pytest.fixture
def gallery_path(template: Path, photos: Path, tiny_encoder: Path, tmp_path: Path) -> Path:
    """The folder of a gallery built from `photos`, closed; a copy takes a fifth of the time."""
    if not template.exists():
        with Gallery.create(template, encoder=str(tiny_encoder)) as made:
            assert made.build(photos).added == 15
    path = tmp_path / "gallery"
    shutil.copytree(template, path)
    with closing(sqlite3.connect(path / "gallery.db")) as connection, connection:
        for item_id, label, old in connection.execute("SELECT id, label, path FROM items"):
            photo = photos / label / Path(old).name
            connection.execute(
                "UPDATE items SET path = ?, mtime_ns = ? WHERE id = ?",
                (str(photo), photo.stat().st_mtime_ns, item_id),
            )
    return path


@pytest.fixture
def gallery(gallery_path: Path) -> Iterator[Gallery]:
    """An open gallery built from `photos`."""
    with Gallery.open(gallery_path) as opened:
        yield opened


@pytest.fixture(scope="session")
def without_privileges() -> list[str]:
    """How a command line begins so that permissions hold for it, as they don't for root."""
    if os.geteuid() != 0:
        return []
    # PR_CAPBSET_DROP of CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH counts from the next program on.
    script = """
import ctypes, os, sys
for capability in (1, 2):
    assert ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
    return [sys.executable, "-c", script]


@pytest.fixture(scope="session")
def grocery() -> Path:
    """The folder of the Grocery Store photos, from `LOOKALIKE_GROCERY`."""
    folder = os.environ.get("LOOKALIKE_GROCERY")
    if not folder:
        pytest.skip("set LOOKALIKE_GROCERY to the Grocery Store photos to run this test")
    path = Path(folder)
    if not (path / "train").is_dir():
        pytest.fail(f"LOOKALIKE_GROCERY is {folder}, which has no folder train/")
    return path


@pytest.fixture(scope="session")
def grocery_gallery(
    grocery: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], tuple[Path, BuildReport]]:
    """What gives a gallery of the training photos by encoder and precision, to be read only.

    For tests of the group `grocery`: each is built once, and they are the slowest of all.
    """

    @cache
    def build(encoder: str, precision: str) -> tuple[Path, BuildReport]:
        path = tmp_path_factory.mktemp("grocery") / f"{encoder}-{precision}"
        with Gallery.create(path, encoder=encoder, precision=precision) as gallery:
            return path, gallery.build(grocery / "train")

    return build


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give all tests of a group to one worker."""
    from by_group import ByGroup

    return ByGroup(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long: the last test of a run is short, and no worker waits for it."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where nothing may be skipped, a skipped test fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("LOOKALIKE_NO_SKIPS") and reporter and reporter.stats.get("skipped"):
        reporter.write_line("LOOKALIKE_NO_SKIPS is set, and tests were skipped: the run fails.")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
