"""`/v1/evaluation`: a job, its progress, its figures and its page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from retrieval import Gallery
from retrieval.json_text import to_plain

Follow = Callable[..., list[tuple[str, Any]]]


def test_before_the_first_it_says_so(client: TestClient) -> None:
    assert client.get("/v1/evaluation").json() == {
        "evaluation": None,
        "created_at": None,
        "outdated": False,
        "report": None,
        "job": None,
        "note": "The gallery was never evaluated: POST /v1/evaluation does it.",
    }
    assert client.get("/v1/evaluation/report").status_code == 404


def test_the_figures_are_those_of_the_command_line(
    client: TestClient, gallery_path: Path, follow: Follow
) -> None:
    begun = client.post("/v1/evaluation", json={})
    assert begun.status_code == 202
    assert begun.json()["state"] == "running"
    events = follow(client, begun.headers["location"])
    assert [name for name, _ in events][-1] == "done"
    assert (events[-1][1]["done"], events[-1][1]["total"]) == (21, 21)
    with Gallery.open(gallery_path) as gallery:
        expected = to_plain(gallery.evaluate())
    answer = client.get("/v1/evaluation").json()
    assert answer["evaluation"] == expected
    assert (answer["outdated"], answer["job"], answer["note"]) == (False, None, None)
    report = client.get(answer["report"])
    assert report.headers["content-type"].startswith("text/html")
    assert "script-src" not in report.headers["content-security-policy"]
    assert report.text.startswith("<!DOCTYPE html>")


def test_with_strangers(client: TestClient, follow: Follow) -> None:
    plan = {"strangers": 0.4, "repeats": 2, "seed": 1, "rule": "nearest"}
    begun = client.post("/v1/evaluation", json=plan)
    assert follow(client, begun.headers["location"])[-1][0] == "done"
    open_set = client.get("/v1/evaluation").json()["evaluation"]["open_set"]
    assert (open_set["strangers"], open_set["repeats"], open_set["seed"]) == (0.4, 2, 1)


def test_a_changed_gallery_is_told(client: TestClient, follow: Follow) -> None:
    begun = client.post("/v1/evaluation", json={})
    follow(client, begun.headers["location"])
    client.delete("/v1/items/3")
    answer = client.get("/v1/evaluation").json()
    assert answer["outdated"] is True
    assert "has changed since" in answer["note"]


def test_an_empty_gallery_fails_in_one_sentence(
    serve: Callable[..., TestClient], empty_path: Path, follow: Follow
) -> None:
    client = serve(empty_path)
    begun = client.post("/v1/evaluation", json={})
    name, job = follow(client, begun.headers["location"])[-1]
    assert name == "failed"
    assert job["problem"].startswith("The gallery has no labelled items")
    assert client.get("/v1/evaluation").json()["evaluation"] is None
