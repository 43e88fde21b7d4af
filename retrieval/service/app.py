"""The app: routes, and what stands around them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.utils import get_openapi

from retrieval.folder import home_of
from retrieval.place import Place
from retrieval.service import (
    evaluation,
    events,
    health,
    identifying,
    items,
    labels,
    page,
    thresholds,
)
from retrieval.service.headers import Headers
from retrieval.service.limits import Intake
from retrieval.service.metrics import Counted, Metrics
from retrieval.service.problems import explain_problems
from retrieval.service.schemas import Problem
from retrieval.service.security import OPEN, Gate
from retrieval.service.serving import Serving
from retrieval.service.settings import Settings

_DESCRIPTION = """\
Identify a photo against a gallery of reference photos, or say unknown.

The JSON of results is that of the command line. What goes wrong is told as RFC 9457 problem
details, whose `detail` is one sentence. With tokens set, every path but `/healthz` and `/readyz`
needs one: `Authorization: Bearer TOKEN`, or as the password of a login with any name.
"""


def create_app(
    gallery: str | os.PathLike[str] | Place, settings: Settings | None = None
) -> FastAPI:
    """Make the app that serves a gallery; the gallery is opened when the app starts.

    Args:
        gallery: Where the gallery is; see `Gallery.open`.
        settings: How it is served; `None` for the defaults: no tokens, any host name.
    """
    settings = settings or Settings()
    metrics = Metrics()
    place = Place.of(gallery)
    home = home_of(place)
    serving = Serving(place, home, settings, metrics)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await serving.open()
        yield
        await serving.close()

    app = FastAPI(
        title="lookalike",
        version=version("lookalike"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.state.serving = serving
    explain_problems(app, place, home)
    for router in (
        identifying.router,
        items.router,
        labels.router,
        thresholds.router,
        evaluation.router,
        events.router,
        health.router,
        page.page_router(),
    ):
        app.include_router(router)
    # The last one added is the first to see a request.
    app.add_middleware(Intake, limits=settings.limits, backlog=serving.backlog)
    app.add_middleware(
        Gate, tokens=settings.tokens, hosts=settings.hosts, cors_origins=settings.cors_origins
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    app.add_middleware(Headers)
    app.add_middleware(Counted, metrics=metrics)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return app


def _document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, with the schema of problems and the two ways to say a token."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        components = made.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        schemas.update(problem.pop("$defs"))
        schemas["Problem"] = problem
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "login": {"type": "http", "scheme": "basic"},
        }
        for path, operations in made["paths"].items():
            for operation in operations.values():
                free = path in OPEN
                operation["security"] = [] if free else [{"bearer": []}, {"login": []}, {}]
        app.openapi_schema = made
    return app.openapi_schema
