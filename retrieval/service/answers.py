"""Answers that are results of the Python API, as the command line prints them."""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response

from retrieval.json_text import to_json


def result(content: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with a result's JSON; the route's `response_model` only describes it."""
    return Response(to_json(content), status, headers, "application/json")
