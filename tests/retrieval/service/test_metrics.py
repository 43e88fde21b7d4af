"""What is counted, and how the service says it lives."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient


def figures(client: TestClient) -> dict[tuple[str, ...], float]:
    text = client.get("/metrics").text
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_and_batches_are_counted(client: TestClient, photo: Callable[..., bytes]) -> None:
    client.post("/v1/identify", files=[("images", photo("red", n)) for n in range(3)])
    client.get("/v1/items/3")
    client.get("/v1/items/400")
    client.get("/made/up")
    found = figures(client)
    counted = "lookalike_requests_total"
    assert found[counted, *sorted(("/v1/identify", "POST", "200"))] == 1
    assert found[counted, *sorted(("/v1/items/{item_id}", "GET", "200"))] == 1
    assert found[counted, *sorted(("/v1/items/{item_id}", "GET", "404"))] == 1
    assert found["lookalike_batch_photos_sum",] == 3
    assert found["lookalike_photos_waiting",] == 0
    assert found["lookalike_request_seconds_count", "/v1/identify"] == 1


def test_a_client_cannot_make_up_names(client: TestClient) -> None:
    for number in range(5):
        client.get(f"/made/up/{number}")
        client.request(f"X{number}", "/v1/items")
    text = client.get("/metrics").text
    assert not re.search(r"made|X\d", text)


def test_health_says_little(client: TestClient, gallery_path: Path) -> None:
    for path in ("/healthz", "/readyz"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
