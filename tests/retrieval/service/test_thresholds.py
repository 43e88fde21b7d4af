"""`/v1/thresholds`: shown with its calibration, set by hand, tuned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from retrieval import Gallery
from retrieval.identification import Calibration
from retrieval.json_text import to_plain


def test_the_threshold_in_force_is_that_of_the_command_line(
    client: TestClient, gallery_path: Path
) -> None:
    with Gallery.open(gallery_path) as gallery:
        expected = to_plain(gallery.threshold())
    assert expected["calibration"]["scores"]
    answer = client.get("/v1/thresholds").json()
    assert answer == {"threshold": expected, "outgrown": False, "note": None}


def test_without_one_it_says_what_to_do(
    serve: Callable[..., TestClient], empty_path: Path, photo: Callable[..., bytes]
) -> None:
    client = serve(empty_path)
    empty = client.get("/v1/thresholds").json()
    assert (empty["threshold"], empty["note"]) == (None, "This gallery is empty: add items first.")
    client.post("/v1/items", files={"images": photo()})
    assert "has no threshold" in client.get("/v1/thresholds").json()["note"]


def test_one_set_by_hand_decides(client: TestClient, photo: Callable[..., bytes]) -> None:
    before = client.get("/v1/thresholds").json()["threshold"]
    ask = {"images": photo()}
    for value, decision in ((2.0, "match"), (0.0, "unknown")):
        answer = client.put("/v1/thresholds", json={"value": value})
        assert answer.status_code == 200
        stored = answer.json()
        assert client.get("/v1/thresholds").json()["threshold"] == stored
        assert (stored["value"], stored["objective"], stored["source"]) == (value, "hand", "hand")
        assert stored["calibration"] == before["calibration"]
        told = Calibration(**before["calibration"])
        assert stored["details"]["fpir"] == told.p_value(value)
        assert stored["details"]["dir"] == told.dir(value)
        (said,) = client.post("/v1/identify", files=ask).json()["identifications"]
        assert (said["decision"], said["threshold"]) == (decision, value)


def test_one_of_another_rule_has_no_calibration(client: TestClient) -> None:
    stored = client.put("/v1/thresholds", json={"value": 0.5, "rule": "ratio"}).json()
    assert (stored["rule"], stored["calibration"]) == ("ratio", {})
    assert "fpir" not in stored["details"]


def test_adding_photos_leaves_one_set_by_hand_alone(
    client: TestClient, photo: Callable[..., bytes]
) -> None:
    stored = client.put("/v1/thresholds", json={"value": 0.3}).json()
    files = [("images", (f"{n}.png", photo("red", 40 + n))) for n in range(8)]
    assert client.post("/v1/items", files=files, data={"label": "red"}).json()["added"] == 8
    answer = client.get("/v1/thresholds").json()
    assert (answer["threshold"], answer["outgrown"]) == (stored, True)
    assert "had 21 items when its threshold was tuned and has 29 now" in answer["note"]


@pytest.mark.parametrize(
    "body",
    [{}, {"value": "0.5"}, {"value": True}, {"value": -1}, {"value": 0.1, "rule": "verifier"}],
)
def test_what_is_no_threshold_is_refused(client: TestClient, body: dict[str, Any]) -> None:
    before = client.get("/v1/thresholds").json()
    assert client.put("/v1/thresholds", json=body).status_code == 422
    assert client.get("/v1/thresholds").json() == before


def test_one_is_tuned_in_the_background(
    client: TestClient, follow: Callable[..., list[tuple[str, Any]]]
) -> None:
    answer = client.post("/v1/thresholds", json={"objective": "fpir=0.5"})
    assert answer.status_code == 202
    events = follow(client, answer.headers["location"])
    assert [name for name, _ in events][-1] == "done"
    assert events[-1][1]["result"] == "/v1/thresholds"
    assert client.get("/v1/thresholds").json()["threshold"]["objective"] == "fpir=0.5"


def test_a_promise_that_cannot_be_kept_is_told(
    client: TestClient, follow: Callable[..., list[tuple[str, Any]]]
) -> None:
    before = client.get("/v1/thresholds").json()
    answer = client.post("/v1/thresholds", json={"objective": "fpir=0.01"})
    name, job = follow(client, answer.headers["location"])[-1]
    assert name == "failed"
    assert "labels" in job["problem"]
    assert client.get("/v1/thresholds").json() == before


def test_an_objective_that_is_none_is_refused_at_once(client: TestClient) -> None:
    answer = client.post("/v1/thresholds", json={"objective": "luck"})
    assert answer.status_code == 422
    assert "'luck' is no objective" in answer.json()["detail"]
    assert client.get("/v1/jobs").json() == {"jobs": []}
