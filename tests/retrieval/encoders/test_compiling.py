"""What is compiled is kept beside the artifact, and never trusted further than it proves itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from retrieval.encoders import Artifact, compiling, open_encoder
from retrieval.encoders.artifact import COMPILED

PIXELS = np.random.default_rng(0).integers(0, 256, (1, 160, 160, 3), dtype=np.uint8)


@pytest.fixture
def encoder(tiny_encoder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny encoder with nothing compiled."""
    return Artifact.load(tiny_encoder).copy_to(tmp_path / "encoder").folder


def encode(folder: Path, precision: str = "float32") -> np.ndarray:
    artifact = Artifact.load(folder)
    side = artifact.spec.preprocessing.size
    opened = open_encoder(artifact, precision=precision)
    vector = opened.encode(np.ascontiguousarray(PIXELS[:, :side, :side]))
    opened.close()
    return vector


def kept(folder: Path) -> list[Path]:
    return sorted((folder / COMPILED).glob("*"))


def test_the_second_start_loads_what_the_first_compiled(
    encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = encode(encoder)
    (blob,) = kept(encoder)
    # Without the network itself only what was compiled can answer.
    for part in (encoder / "openvino").iterdir():
        part.write_bytes(b"")
    np.testing.assert_array_equal(encode(encoder), first)
    assert kept(encoder) == [blob]


def test_each_precision_has_its_own(encoder: Path) -> None:
    encode(encoder)
    (blob,) = kept(encoder)
    encode(encoder, "bfloat16")
    assert len(kept(encoder)) == 2
    assert blob in kept(encoder)


@pytest.mark.parametrize("left", [-9, 9, 0])
def test_a_damaged_one_is_made_anew(encoder: Path, left: int) -> None:
    first = encode(encoder)
    (blob,) = kept(encoder)
    whole = blob.read_bytes()
    blob.write_bytes(whole[:left])
    np.testing.assert_array_equal(encode(encoder), first)
    # OpenVINO numbers its layers anew each time, so the bytes differ; but it is whole again.
    anew = blob.read_bytes()
    assert len(anew) > 9
    np.testing.assert_array_equal(encode(encoder), first)
    assert blob.read_bytes() == anew


def test_one_that_openvino_refuses_is_made_anew(
    encoder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = encode(encoder)
    (blob,) = kept(encoder)
    compiling._write(blob, b"whole, but of something else", replaces="nothing")
    np.testing.assert_array_equal(encode(encoder), first)
    assert "compiled anew" in caplog.text
    assert blob.stat().st_size > 1000


def test_what_another_machine_left_is_replaced(
    encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(encoder)
    (theirs,) = kept(encoder)
    monkeypatch.setattr("os.cpu_count", lambda: 1000)
    encode(encoder)
    (mine,) = kept(encoder)
    assert mine != theirs


def test_a_place_that_takes_no_files_costs_only_time(encoder: Path) -> None:
    (encoder / COMPILED).write_bytes(b"in the way")
    assert encode(encoder).shape[0] == 1
    assert (encoder / COMPILED).read_bytes() == b"in the way"


def test_an_artifact_is_copied_without_it(encoder: Path, tmp_path: Path) -> None:
    encode(encoder)
    assert not kept(Artifact.load(encoder).copy_to(tmp_path / "copy").folder)


def test_two_processes_may_make_it_at_once(encoder: Path) -> None:
    script = f"""
import sys
from pathlib import Path
import numpy as np
from retrieval.encoders import Artifact, open_encoder
artifact = Artifact.load(Path({str(encoder)!r}))
side = artifact.spec.preprocessing.size
pixels = np.full((1, side, side, 3), 100, np.uint8)
sys.stdin.readline()
print(open_encoder(artifact, precision="float32").encode(pixels).tobytes().hex())
"""
    for _ in range(3):
        shutil.rmtree(encoder / COMPILED, ignore_errors=True)
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = {process.communicate()[0] for process in processes}
        assert [process.returncode for process in processes] == [0] * 4
        assert len(answers) == 1
        assert [path.suffix for path in kept(encoder)] == [".blob"]
