"""What is told of a server that can't be asked; no server runs here."""

from __future__ import annotations

import socket
import sys

import pytest

from indexes import milvus_calls
from indexes.milvus import MilvusIndex
from indexes.protocol import EngineError


@pytest.mark.parametrize(
    "uri", ["", "localhost:19530", "ftp://localhost", "http://", "http://host:port", "x.db"]
)
def test_what_names_no_server_is_refused(uri: str) -> None:
    with pytest.raises(EngineError, match="http://host:port"):
        MilvusIndex(uri, "one", 4)


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("http://milvus.example", "milvus.example:19530"),
        ("https://milvus.example", "milvus.example:443"),
        ("http://[::1]:19531/gallery", "[::1]:19531"),
    ],
)
def test_an_address_has_the_usual_port(uri: str, address: str) -> None:
    assert milvus_calls.Calls(uri).address == address


def test_where_nobody_answers_a_sentence_without_the_password_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(milvus_calls, "CONNECT_SECONDS", 0.2)
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for index in (
            MilvusIndex(f"http://me:pa%40ss@127.0.0.1:{port}", "one", 4),
            MilvusIndex(f"http://127.0.0.1:{port}", "one", 4, token="me:pa@ss"),
        ):
            with pytest.raises(EngineError) as failure:
                index.exists()
            assert str(failure.value) == (
                f"No Milvus server answers at 127.0.0.1:{port} within 0.2 s. "
                "Start it, or correct the address."
            )
            index.close()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    monkeypatch.setitem(sys.modules, "pymilvus.grpc_gen", None)
    with pytest.raises(EngineError, match=r"pip install 'lookalike\[milvus\]'"):
        MilvusIndex("http://localhost:19530", "one", 4).exists()
