"""`POST /v1/identify` answers what the command line answers, for one photo or for several."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from retrieval.cli import main


def ask(client: TestClient, *photos: tuple[str, bytes], **params: Any) -> Any:
    return client.post("/v1/identify", params=params, files=[("images", one) for one in photos])


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"k": 2},
        {"threshold": 0.001},
        {"rule": "margin", "threshold": 0.9},
        {"where": "label=blue|red"},
    ],
)
def test_the_json_is_that_of_the_command_line(
    client: TestClient,
    gallery_path: Path,
    photo: Callable[..., bytes],
    tmp_path: Path,
    params: dict[str, Any],
) -> None:
    (tmp_path / "query.png").write_bytes(photo("green"))
    options = [f"--{name}={value}" for name, value in params.items() if name != "k"]
    options += ["-k", str(params.get("k", 5))]
    said = CliRunner().invoke(
        main, ["query", str(tmp_path / "query.png"), "-g", str(gallery_path), "--json", *options]
    )
    expected = json.loads(said.stdout) | {"query": "query.png"}
    answer = ask(client, ("query.png", photo("green")), **params)
    assert answer.status_code == 200
    assert answer.json() == {"identifications": [expected], "failed": []}


def test_several_photos_are_answered_in_their_order(
    client: TestClient, photo: Callable[..., bytes]
) -> None:
    colours = ["blue", "red", "green", "red", "blue"] * 4
    photos = [(f"{place}.png", photo(one)) for place, one in enumerate(colours)]
    answers = ask(client, *photos, threshold=0.5).json()["identifications"]
    assert [one["query"] for one in answers] == [name for name, _ in photos]
    assert [one["label"] for one in answers] == colours


def test_one_that_cannot_be_read_does_not_cost_the_others_their_answer(
    client: TestClient, photo: Callable[..., bytes]
) -> None:
    answer = ask(client, ("a.svg", b"<svg/>"), ("b.png", photo()), ("c.png", photo()[:300]))
    assert answer.status_code == 200
    assert [one["query"] for one in answer.json()["identifications"]] == ["b.png"]
    failed = answer.json()["failed"]
    assert [one["path"] for one in failed] == ["a.svg", "c.png"]
    assert failed[0]["reason"].startswith("not an image in a format we read")


def test_where_none_can_be_read_the_answer_is_the_command_lines_sentence(
    client: TestClient,
) -> None:
    answer = ask(client, ("a.svg", b"<svg/>"))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].startswith(
        "a.svg can't be used as a query: not an image in a format we read"
    )


def test_a_name_is_a_name_and_no_path(client: TestClient, photo: Callable[..., bytes]) -> None:
    (answer,) = ask(client, ("../../etc/\x07pass\nwd", photo())).json()["identifications"]
    assert "/" not in answer["query"]
    assert answer["query"].isprintable()


def test_an_empty_gallery_explains_itself(
    serve: Callable[..., TestClient], empty_path: Path, photo: Callable[..., bytes]
) -> None:
    (answer,) = ask(serve(empty_path), ("a.png", photo())).json()["identifications"]
    assert (answer["decision"], answer["items"]) == ("unknown", [])
    assert answer["note"] == "This gallery is empty: add items first."


def test_a_verifier_that_is_not_there_is_told_without_where_it_would_be(
    client: TestClient, photo: Callable[..., bytes], gallery_path: Path
) -> None:
    answer = ask(client, ("a.png", photo()), rule="verifier")
    assert answer.status_code == 422
    assert "has no verifier" in answer.json()["detail"]
    assert str(gallery_path) not in answer.text


@pytest.mark.parametrize(
    "params", [{"k": 0}, {"k": "many"}, {"threshold": 3}, {"threshold": "nan"}, {"rule": "luck"}]
)
def test_wrong_parameters_are_named(
    client: TestClient, photo: Callable[..., bytes], params: dict[str, Any]
) -> None:
    answer = ask(client, ("a.png", photo()), **params)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["where"] == f"query.{next(iter(params))}"


def test_a_condition_written_wrongly_costs_nobody_else_an_answer(
    client: TestClient, photo: Callable[..., bytes]
) -> None:
    answer = ask(client, ("a.png", photo()), where=["label=red", "luck"])
    assert answer.status_code == 422
    assert "'luck' is no condition" in answer.json()["detail"]
    answer = ask(client, ("a.png", photo()), where=["label=blue", "path~=*/3.png"])
    (found,) = answer.json()["identifications"]
    assert (found["among"], [one["label"] for one in found["items"]]) == (1, ["blue"])


def test_without_a_photo_the_answer_says_so(client: TestClient) -> None:
    answer = client.post("/v1/identify")
    assert answer.status_code == 422
    assert "images" in answer.json()["detail"]


def test_what_others_add_is_found_at_once(
    client: TestClient, gallery_path: Path, photo: Callable[..., bytes], tmp_path: Path
) -> None:
    (tmp_path / "new.png").write_bytes(photo("red", 55))
    assert ask(client, ("q.png", photo("red", 55))).json()["identifications"][0]["distance"] > 0
    arguments = ["add", str(tmp_path / "new.png"), "--label", "new", "-g", str(gallery_path)]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    (answer,) = ask(client, ("q.png", photo("red", 55))).json()["identifications"]
    assert answer["items"][0]["label"] == "new"
    assert answer["distance"] < 1e-3
