"""The page's files come from memory; what is no file of its own is not looked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from retrieval.place import Place
from retrieval.service.page import page_router
from retrieval.service.problems import explain_problems


@pytest.fixture
def site(tmp_path: Path) -> TestClient:
    """An app with a page of three files."""
    folder = tmp_path / "static"
    (folder / "parts").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "index.html").write_text("<!DOCTYPE html>")
    (folder / "parts" / "a.js").write_text("export {};")
    (folder / "page.css").write_text("a{}")
    app = FastAPI()
    explain_problems(app, Place.of(tmp_path), tmp_path)
    app.include_router(page_router(folder))
    # Nothing is read any more.
    for path in folder.rglob("*.*"):
        path.unlink()
    return TestClient(app)


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/static/parts/a.js", "text/javascript; charset=utf-8"),
        ("/static/page.css", "text/css; charset=utf-8"),
    ],
)
def test_files_are_served_and_kept(site: TestClient, path: str, media_type: str) -> None:
    answer = site.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == media_type
    again = site.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name", ["../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "parts", "", "/etc/passwd"]
)
def test_nothing_else_is(site: TestClient, name: str) -> None:
    answer = site.get(f"/static/{name}")
    assert answer.status_code == 404
    assert "secret" not in answer.text
