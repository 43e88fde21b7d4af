"""Making an artifact: everything it needs is in the folder, and nothing was sent anywhere."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.encoders import Artifact
from retrieval.encoders.artifact import DESCRIPTION, WEIGHTS
from retrieval.encoders.factory import make_artifact
from retrieval.encoders.networks import make_network
from retrieval.errors import EncoderError

TINY = "timm:test_efficientnet"


@pytest.fixture
def without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a platform that OpenVINO isn't built for."""
    monkeypatch.setitem(sys.modules, "openvino", None)


@pytest.mark.usefixtures("without_openvino")
def test_an_artifact_holds_the_weights_of_the_network(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    made = make_artifact(TINY, tmp_path / "new" / "made", weights=tiny_checkpoint)
    network = make_network(TINY, tiny_checkpoint)
    saved, expected = load_file(made.folder / WEIGHTS), network.module.state_dict()
    assert saved.keys() == expected.keys()
    assert all(saved[key].equal(value) for key, value in expected.items())
    assert (made.spec.name, made.spec.dim) == (TINY, 256)
    assert made.spec.preprocessing == network.preprocessing
    assert made == Artifact.load(made.folder)


@pytest.mark.usefixtures("without_openvino")
def test_artifacts_of_the_same_weights_have_the_same_fingerprint(
    tiny_encoder: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    again = make_artifact(TINY, tmp_path / "again", weights=tiny_checkpoint)
    torch.save(load_file(tiny_checkpoint), tmp_path / "renamed.pth")
    other_file = make_artifact(TINY, tmp_path / "other", weights=tmp_path / "renamed.pth")
    fingerprint = Artifact.load(tiny_encoder).spec.fingerprint
    # Whatever else the folder holds for a runtime: the first has a compiled network, these don't.
    assert again.spec.fingerprint == other_file.spec.fingerprint == fingerprint
    assert again.checksums.keys() == {WEIGHTS}


@pytest.mark.usefixtures("without_openvino")
def test_artifacts_of_other_weights_have_another_fingerprint(
    tiny_encoder: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(tiny_checkpoint)
    weights["bn2.bias"][-1] += 1e-3
    save_file(weights, tmp_path / "changed.safetensors")
    changed = make_artifact(TINY, tmp_path / "made", weights=tmp_path / "changed.safetensors")
    assert changed.spec.fingerprint != Artifact.load(tiny_encoder).spec.fingerprint


def test_nothing_reaches_for_the_network_while_an_artifact_is_made(
    tiny_encoder: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openvino_telemetry

    attempts: list[str] = []

    def refuse(what: str) -> Callable[..., None]:
        def attempt(*_args: object, **_options: object) -> None:
            attempts.append(what)
            raise OSError("no network in this test")

        return attempt

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse(name))
    monkeypatch.setattr(socket, "getaddrinfo", refuse("getaddrinfo"))
    # OpenVINO's converter would report home from a process of its own, and not on every machine.
    for name in ("__init__", "start_session", "send_event"):
        monkeypatch.setattr(openvino_telemetry.Telemetry, name, refuse(name))
    made = make_artifact(TINY, tmp_path / "made", weights=tiny_checkpoint)
    assert attempts == []
    assert made.checksums.keys() == Artifact.load(tiny_encoder).checksums.keys()
    assert made.spec == Artifact.load(tiny_encoder).spec


def test_the_path_of_an_artifact_gets_a_copy(tiny_encoder: Path, tmp_path: Path) -> None:
    copy = make_artifact(str(tiny_encoder), tmp_path / "copy")
    original = Artifact.load(tiny_encoder)
    assert (copy.folder, copy.spec) == (tmp_path / "copy", original.spec)
    assert copy.checksums == original.checksums
    assert not copy.damage()


@pytest.mark.usefixtures("without_openvino")
def test_a_name_wins_over_a_folder_that_is_called_like_it(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / TINY).mkdir()
    assert make_artifact(TINY, tmp_path / "made", weights=tiny_checkpoint).spec.name == TINY


def test_weights_do_not_go_with_an_artifact(
    tiny_encoder: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(EncoderError, match=r"--weights .* leave it out\.$"):
        make_artifact(str(tiny_encoder), tmp_path / "copy", weights=tiny_checkpoint)
    assert not (tmp_path / "copy").exists()


def test_a_folder_that_is_no_artifact_is_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="holds no encoder"):
        make_artifact(str(photos), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", ["efficientnet_lite9", "timm:unheard_of", "no/such/folder"])
def test_what_can_not_be_made_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    with pytest.raises(EncoderError):
        make_artifact(name, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_description_is_plain_json_that_a_person_can_read(tiny_encoder: Path) -> None:
    text = (tiny_encoder / DESCRIPTION).read_text(encoding="utf-8")
    values = json.loads(text)
    assert text.count("\n") > len(values)
    assert values["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    assert values["architecture"] == {
        "library": "timm",
        "model": "test_efficientnet",
        "arguments": {"num_classes": 0},
    }
    assert values["provenance"] == {"weights": "tiny.safetensors"}
