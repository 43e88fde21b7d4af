"""The OpenAPI document tells the truth: no server error, no answer that it does not describe."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from retrieval.service.app import create_app

# Random bytes are no photo, so a request that the document allows may be refused all the same.
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
DOCUMENT: dict[str, Any] = create_app(Path("nowhere")).openapi()
OPERATIONS = [
    (method, path) for path, operations in DOCUMENT["paths"].items() for method in operations
]
# Where nothing is said, nothing can be said wrongly.
CASES = [
    (method, path, mode)
    for method, path in OPERATIONS
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE
    or {"parameters", "requestBody"} & set(DOCUMENT["paths"][path][method])
]


@pytest.fixture(scope="module")
def url(
    reference: Path,
    tmp_path_factory: pytest.TempPathFactory,
    process: Callable[..., AbstractContextManager[tuple[Any, Any]]],
) -> Iterator[str]:
    """A service in a process of its own, for all examples."""
    path = tmp_path_factory.mktemp("contract") / "gallery"
    shutil.copytree(reference / "gallery", path)
    with process(path) as (client, _):
        yield str(client.base_url)


@pytest.mark.parametrize(("method", "path", "mode"), CASES)
def test_the_document_is_true(url: str, method: str, path: str, mode: GenerationMode) -> None:
    operation = schemathesis.openapi.from_dict(DOCUMENT)[path][method]

    @settings(
        max_examples=12,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        case.call_and_validate(base_url=url, checks=CHECKS)

    ask()


def test_every_operation_has_an_example() -> None:
    for path, method in ((path, method) for method, path in OPERATIONS):
        operation = DOCUMENT["paths"][path][method]
        assert operation["summary"]
        assert operation["description"]
        for status, answer in operation["responses"].items():
            for kind, content in answer.get("content", {}).items():
                if kind.endswith("json"):
                    name = content["schema"]["$ref"].rpartition("/")[2]
                    model = DOCUMENT["components"]["schemas"][name]
                    assert "example" in content or model.get("examples"), (path, status)
    assert "HTTPValidationError" not in str(DOCUMENT)
