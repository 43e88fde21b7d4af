"""What goes wrong is told as problem details, in words, and says nothing about the server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from db import StoreError
from retrieval.errors import EncoderChanged
from retrieval.service.problems import without_folders


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/srv/shop/gallery.db was busy for 60 s.", "gallery.db was busy for 60 s."),
        ("/srv/shop belongs to another encoder.", "The gallery belongs to another encoder."),
        ("Not in /srv/shop, nor /data/my/a.png: no.", "Not in the gallery, nor a.png: no."),
        ("'/data/a.png' or (/data/b.png)", "'a.png' or (b.png)"),
        (r"C:\data\a.png is gone.", "a.png is gone."),
        ("say fpir=X and/or f1; 3/4 of them", "say fpir=X and/or f1; 3/4 of them"),
        ("GET /v1/items lists what there is.", "GET items lists what there is."),
    ],
)
def test_where_things_lie_is_left_out(text: str, told: str) -> None:
    assert without_folders(text, Path("/srv/shop")) == told


def test_every_failure_has_the_members_of_a_problem(client: TestClient) -> None:
    for answer in (
        client.get("/v1/nothing"),
        client.get("/v1/items/x"),
        client.put("/v1/items/3"),
        client.patch("/v1/items/3", content=b"{", headers={"Content-Type": "application/json"}),
        client.post("/v1/identify", content=b"x", headers={"Content-Type": "multipart/form-data"}),
    ):
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["type"] == "about:blank"
        assert problem["status"] == answer.status_code
        assert problem["title"]
        assert problem["detail"].endswith(".")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/items", "GET, POST"),
        ("/v1/items/3", "DELETE, GET, PATCH"),
        ("/v1/thresholds", "GET, POST, PUT"),
    ],
)
def test_what_can_be_done_instead_is_told(client: TestClient, path: str, methods: str) -> None:
    answer = client.request("TRACE", path)
    assert (answer.status_code, answer.headers["allow"]) == (405, methods)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StoreError("{path}/gallery.db was busy."), 503),
        (EncoderChanged("{path} was given another encoder."), 503),
        (OSError(28, "No space left on device", "{path}/x"), 503),
        (ZeroDivisionError("at {path}"), 500),
    ],
)
def test_what_happens_inside_is_told_without_paths(
    client: TestClient,
    gallery_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
) -> None:
    def fail() -> None:
        raise type(error)(*(str(one).format(path=gallery_path) for one in error.args))

    monkeypatch.setattr(client.app.state.serving.gallery, "labels", fail)  # type: ignore[attr-defined]
    answer = client.get("/v1/labels")
    assert answer.status_code == answer.json()["status"] == status
    assert str(gallery_path) not in answer.text
    assert "ZeroDivision" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)


def test_a_service_that_starts_or_stops_says_so(
    serve: Callable[..., TestClient], gallery_path: Path
) -> None:
    client = serve(gallery_path)
    client.app.state.serving.ready = False  # type: ignore[attr-defined]
    for path in ("/readyz", "/v1/items"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
    assert client.get("/healthz").status_code == 200
