"""`serve` says in one sentence what keeps it from serving."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


def test_other_machines_need_a_token(refusal: Callable[..., str], gallery_path: Path) -> None:
    said = refusal("serve", "-g", gallery_path, "--host", "0.0.0.0")
    assert said == (
        "With --host 0.0.0.0 other machines reach this gallery: name a --token-file with a line "
        "like write:TOKEN, or serve 127.0.0.1 only."
    )


def test_a_token_file_is_read_first(
    refusal: Callable[..., str], gallery_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "tokens"
    path.write_text("write:short")
    said = refusal("serve", "-g", gallery_path, "--token-file", path)
    assert said.startswith(f"{path}, line 1: a token has at least 16")


def test_there_must_be_a_gallery(refusal: Callable[..., str], tmp_path: Path) -> None:
    said = refusal("serve", "-g", tmp_path / "none")
    assert said.startswith(f"{tmp_path / 'none'} does not exist")


def test_the_port_must_be_free(refusal: Callable[..., str], gallery_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal("serve", "-g", gallery_path, "--port", port)
    assert said.startswith(f"127.0.0.1:{port} can't be listened on (")


def test_without_its_packages_it_names_them(
    refusal: Callable[..., str], gallery_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.setitem(sys.modules, "python_multipart", None)
    said = refusal("serve", "-g", gallery_path)
    assert said == (
        "The service needs uvicorn and python_multipart: run `pip install 'lookalike[serve]'`."
    )
