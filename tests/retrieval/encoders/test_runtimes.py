"""The runtimes: one answer whichever runs, from one thread or several, or one clear refusal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from retrieval.encoders import Artifact, Encoder, open_encoder
from retrieval.encoders.artifact import WEIGHTS
from retrieval.encoders.protocol import normalise
from retrieval.encoders.torch_runtime import TorchEncoder
from retrieval.errors import EncoderError

Open = Callable[..., Encoder]
RUNTIMES = ("openvino", "torch")


@pytest.fixture(scope="module")
def pixels(tiny_encoder: Path) -> NDArray[np.uint8]:
    """Eight pictures of coloured clouds, as the tiny encoder sees them."""
    rng = np.random.default_rng(0)
    side = Artifact.load(tiny_encoder).spec.preprocessing.size
    clouds = rng.integers(0, 256, (8, 4, 4, 3), dtype=np.uint8)
    bicubic = Image.Resampling.BICUBIC
    pictures = [Image.fromarray(cloud).resize((side, side), bicubic) for cloud in clouds]
    return np.stack([np.asarray(picture) for picture in pictures])


@pytest.fixture
def opening(tiny_encoder: Path) -> Iterator[Open]:
    """A function that starts the tiny encoder in a runtime; closed afterwards."""
    opened: list[Encoder] = []

    def start(runtime: str, precision: str = "float32", folder: Path = tiny_encoder) -> Encoder:
        artifact = Artifact.load(folder)
        if runtime == "torch":
            encoder: Encoder = TorchEncoder(artifact, precision, "cpu")
        else:
            encoder = open_encoder(artifact, precision=precision)
            assert type(encoder).__name__ == "OpenVinoEncoder"
        opened.append(encoder)
        return encoder

    yield start
    for encoder in opened:
        encoder.close()


@pytest.fixture(params=RUNTIMES)
def encoder(request: pytest.FixtureRequest, opening: Open) -> Encoder:
    """The tiny encoder in either runtime, in float32."""
    return opening(request.param)


def lowest_cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    assert a.shape == b.shape
    return float((a * b).sum(axis=1).min())


def test_openvino_and_torch_give_the_same_vectors(opening: Open, pixels: NDArray[np.uint8]) -> None:
    theirs, ours = opening("torch").encode(pixels), opening("openvino").encode(pixels)
    assert lowest_cosine(theirs, ours) >= 0.9999
    assert np.abs(theirs - ours).max() < 1e-5  # bfloat16 would differ by some thousandths
    # Not because every picture gets the same.
    assert lowest_cosine(theirs, np.roll(ours, 1, axis=0)) < 0.9


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_bfloat16_gives_nearly_the_vectors_of_float32(
    runtime: str, opening: Open, pixels: NDArray[np.uint8]
) -> None:
    rough, exact = opening(runtime, "bfloat16"), opening(runtime, "float32")
    assert (rough.precision, exact.precision) == ("bfloat16", "float32")
    rounded = rough.encode(pixels)
    assert lowest_cosine(rounded, exact.encode(pixels)) >= 0.999
    assert not np.allclose(rounded, exact.encode(pixels), atol=1e-5)


def test_torch_in_float16_gives_nearly_the_vectors_of_float32(
    opening: Open, pixels: NDArray[np.uint8]
) -> None:
    rough, exact = opening("torch", "float16"), opening("torch", "float32")
    assert rough.precision == "float16"
    assert lowest_cosine(rough.encode(pixels), exact.encode(pixels)) >= 0.9999


def test_left_to_choose_a_cpu_takes_the_fastest_it_computes_natively(opening: Open) -> None:
    import openvino

    native = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    expected = "bfloat16" if "BF16" in native else "float32"
    assert opening("openvino", "auto").precision == expected
    assert opening("torch", "auto").precision == "float32"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_vectors_are_float32_of_unit_length(
    runtime: str, precision: str, opening: Open, pixels: NDArray[np.uint8]
) -> None:
    for vectors in (
        opening(runtime, precision).encode(pixels),
        opening(runtime, precision).submit(pixels).result(),
    ):
        assert vectors.dtype == np.float32
        assert vectors.shape == (8, 256)
        assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5


def test_a_row_of_zeros_stays_one() -> None:
    features = np.array([[0, 0], [3, 4]], dtype=np.float32)
    assert normalise(features).tolist() == [[0, 0], pytest.approx([0.6, 0.8])]


def test_a_picture_gets_the_same_vector_alone_and_in_company(
    encoder: Encoder, pixels: NDArray[np.uint8]
) -> None:
    together = encoder.encode(pixels)
    alone = np.concatenate([encoder.encode(one[np.newaxis]) for one in pixels])
    assert np.abs(together - alone).max() < 1e-5


def test_a_batch_gets_the_same_vectors_at_once_and_queued(
    encoder: Encoder, pixels: NDArray[np.uint8]
) -> None:
    at_once = encoder.encode(pixels)
    assert np.abs(encoder.submit(pixels).result() - at_once).max() < 1e-5


def test_vectors_are_the_callers_and_pixels_stay_as_they_are(
    encoder: Encoder, pixels: NDArray[np.uint8]
) -> None:
    given = pixels.copy()
    first, queued = encoder.encode(given[:4]), encoder.submit(given[:4]).result()
    before = first.copy(), queued.copy()
    encoder.encode(given[4:8])
    encoder.submit(given[4:8]).result()
    assert np.array_equal(first, before[0])
    assert np.array_equal(queued, before[1])
    assert np.array_equal(given, pixels)


def test_threads_that_encode_at_once_each_get_their_own_vectors(
    encoder: Encoder, pixels: NDArray[np.uint8]
) -> None:
    expected = encoder.encode(pixels)

    def ask(number: int) -> float:
        chosen = np.arange(number, number + 1 + number % 3) % len(pixels)
        return float(np.abs(encoder.encode(pixels[chosen]) - expected[chosen]).max())

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(ask, range(80))) < 1e-5


def test_threads_that_queue_at_once_each_get_their_own_vectors(
    encoder: Encoder, pixels: NDArray[np.uint8]
) -> None:
    expected = encoder.encode(pixels)

    def ask(number: int) -> float:
        # More than the queue takes at a time, so that threads wait for a place in it.
        chosen = [np.arange(start, start + 2) % len(pixels) for start in range(number, number + 5)]
        futures = [encoder.submit(pixels[rows]) for rows in chosen]
        answers = zip(futures, chosen, strict=True)
        return max(float(np.abs(f.result(60) - expected[rows]).max()) for f, rows in answers)

    with ThreadPoolExecutor(16) as pool:
        assert max(pool.map(ask, range(64))) < 1e-5


def test_closing_finishes_what_was_submitted(encoder: Encoder, pixels: NDArray[np.uint8]) -> None:
    futures = [encoder.submit(np.roll(pixels, number, axis=0)) for number in range(8)]
    encoder.close()
    assert all(future.done() for future in futures)
    assert len({future.result().tobytes() for future in futures}) == len(futures)


def test_an_encoder_that_did_nothing_can_be_closed(encoder: Encoder) -> None:
    encoder.close()


@pytest.mark.parametrize("how", ["encode", "submit"])
@pytest.mark.parametrize("suffix", [".xml", ".bin"])
@pytest.mark.parametrize("damage", ["empty", "cut", "gone"])
def test_a_damaged_compiled_network_is_refused(
    how: str,
    suffix: str,
    damage: str,
    opening: Open,
    tiny_encoder: Path,
    tmp_path: Path,
    pixels: NDArray[np.uint8],
) -> None:
    copy = Artifact.load(tiny_encoder).copy_to(tmp_path / "copy").folder
    encoder = opening("openvino", folder=copy)
    for path in copy.glob(f"openvino/*{suffix}"):
        path.write_bytes(path.read_bytes()[:1000] if damage == "cut" else b"")
        if damage == "gone":
            path.unlink()
    with pytest.raises(EncoderError, match=r"float32\.xml can't be loaded") as caught:
        getattr(encoder, how)(pixels[:1])
    assert is_one_sentence(caught.value)


@pytest.mark.parametrize("damage", ["empty", "cut", "other", "gone"])
def test_damaged_weights_are_refused(
    damage: str, opening: Open, tiny_encoder: Path, tmp_path: Path
) -> None:
    from safetensors.numpy import save_file

    copy = Artifact.load(tiny_encoder).copy_to(tmp_path / "copy").folder
    path = copy / WEIGHTS
    if damage == "gone":
        path.unlink()
    elif damage == "other":
        save_file({"conv_stem.weight": np.zeros(3, np.float32)}, path)
    else:
        path.write_bytes(path.read_bytes()[:1000] if damage == "cut" else b"")
    with pytest.raises(EncoderError, match=rf"{WEIGHTS} can't be loaded") as caught:
        opening("torch", folder=copy)
    assert is_one_sentence(caught.value)


@pytest.mark.parametrize(
    ("runtime", "precision", "offer"),
    [
        ("openvino", "float16", "say auto, float32 or bfloat16 or int8"),
        ("openvino", "", "say auto, float32 or bfloat16 or int8"),
        ("torch", "int8", "say auto, float32 or bfloat16 or float16"),
        ("torch", "", "say auto, float32 or bfloat16 or float16"),
    ],
)
def test_an_unknown_precision_is_refused(
    runtime: str, precision: str, offer: str, opening: Open
) -> None:
    with pytest.raises(EncoderError, match=f"no precision '{precision}' .*{offer}") as caught:
        opening(runtime, precision)
    assert is_one_sentence(caught.value)


def test_int8_is_refused_where_no_photos_were_there_to_fit_it_to(opening: Open) -> None:
    with pytest.raises(EncoderError, match="has no int8 network: make a gallery") as caught:
        opening("openvino", "int8")
    assert is_one_sentence(caught.value)


@pytest.mark.parametrize("device", ["tpu", "CPU", "cuda:99", "cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(
    device: str, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    # As on a machine without a GPU.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(EncoderError, match=f"no device '{device}'.* say --device cpu") as caught:
        open_encoder(Artifact.load(tiny_encoder), device=device)
    assert is_one_sentence(caught.value)


def test_torch_runs_an_artifact_without_a_compiled_network(
    tiny_encoder: Path, tmp_path: Path, pixels: NDArray[np.uint8], opening: Open
) -> None:
    spec = Artifact.load(tiny_encoder).spec
    (tmp_path / WEIGHTS).write_bytes((tiny_encoder / WEIGHTS).read_bytes())
    encoder = open_encoder(Artifact.describe(tmp_path, spec))
    assert isinstance(encoder, TorchEncoder)
    assert encoder.spec == spec
    same = opening("openvino").encode(pixels)
    assert lowest_cosine(encoder.encode(pixels), same) >= 0.9999
    encoder.close()


def test_torch_runs_an_artifact_where_openvino_is_not_installed(
    tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    encoder = open_encoder(Artifact.load(tiny_encoder))
    assert isinstance(encoder, TorchEncoder)
    encoder.close()


QUERY = """
import sys
from pathlib import Path
from retrieval.embedding import embed_image
from retrieval.encoders import Artifact, open_encoder

encoder = open_encoder(Artifact.load(Path(sys.argv[1])))
vector = embed_image(Path(sys.argv[2]).read_bytes(), encoder)
encoder.close()
heavy = {"torch", "torchvision", "timm", "safetensors", "sqlalchemy"} & set(sys.modules)
print(type(encoder).__name__, len(vector), sorted(heavy))
"""


def test_a_query_needs_no_torch(tiny_encoder: Path, photos: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", QUERY, tiny_encoder, photos / "red" / "0.png"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "OpenVinoEncoder 256 []"


def is_one_sentence(error: EncoderError) -> bool:
    text = str(error)
    return text.endswith(".") and "\n" not in text
