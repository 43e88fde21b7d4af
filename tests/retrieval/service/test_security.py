"""Who may do what: tokens, scopes, names, other sites' pages; and what browsers are told."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from retrieval.errors import LookalikeError
from retrieval.service import security
from retrieval.service.app import create_app
from retrieval.service.running import require_safe
from retrieval.service.security import LOOPBACK, Tokens, read_tokens
from retrieval.service.settings import Settings

Said = tuple[str, str, Tokens]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def login(token: str, name: str = "anybody") -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{token}'.encode()).decode()}"}


@pytest.fixture
def guarded(serve: Callable[..., TestClient], gallery_path: Path, tokens: Said) -> TestClient:
    """A client, without a token, of a service that wants one."""
    return serve(gallery_path, tokens=tokens[2])


def routes(client: TestClient) -> list[tuple[str, str]]:
    """Return every method and path that the app answers, ids filled in."""
    found, waiting = [], list(client.app.routes)  # type: ignore[attr-defined]
    while waiting:
        route = waiting.pop()
        inside = getattr(route, "original_router", None)
        if inside is not None:
            waiting += inside.routes
            continue
        path = route.path.replace("{item_id}", "3").replace("{job_id}", "x")
        path = path.replace("{name:path}", "page.js")
        found += [(method, path) for method in sorted(route.methods)]
    return found


def test_the_route_table_is_known(guarded: TestClient) -> None:
    paths = {path for _, path in routes(guarded)}
    assert {"/", "/static/page.js", "/metrics", "/openapi.json", "/v1/identify"} <= paths
    documented = guarded.app.openapi()["paths"]  # type: ignore[attr-defined]
    assert len(documented) == len(paths - {"/", "/static/page.js", "/openapi.json"}) > 12


def test_every_route_but_health_wants_a_token(guarded: TestClient) -> None:
    for method, path in routes(guarded):
        answer = guarded.request(method, path)
        if path in ("/healthz", "/readyz"):
            assert answer.status_code == 200, path
        else:
            assert answer.status_code == 401, (method, path)
            assert "Basic" in answer.headers["www-authenticate"]
            assert answer.headers["content-type"] == "application/problem+json"
    assert guarded.get("/v1/nothing").status_code == 401
    assert guarded.options("/v1/items").status_code == 401


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer wrong",
        "Basic !!!",
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        "Digest x",
        "Bearer read-" + 15 * "r",
        "Bearer read-" + 17 * "r",
    ],
)
def test_what_is_no_token_opens_nothing(guarded: TestClient, header: str) -> None:
    answer = guarded.get("/v1/items", headers={"Authorization": header})
    assert answer.status_code == 401


@pytest.mark.parametrize("way", [bearer, login])
def test_a_token_opens_what_it_is_for(
    guarded: TestClient, tokens: Said, way: Callable[[str], dict[str, str]]
) -> None:
    read, write, _ = tokens
    for token in (read, write):
        assert guarded.get("/v1/items", headers=way(token)).status_code == 200
        state = guarded.get("/v1/gallery", headers=way(token)).json()
        assert state["may_write"] is (token == write)
        # Asking changes nothing: it is refused for its missing photo, not for the token.
        assert guarded.post("/v1/identify", headers=way(token)).status_code == 422
    for method, path in routes(guarded):
        if method not in ("GET", "HEAD") and path != "/v1/identify":
            answer = guarded.request(method, path, headers=way(read))
            assert answer.status_code == 403, (method, path)
    assert guarded.get("/v1/items/3", headers=way(read)).status_code == 200
    assert guarded.delete("/v1/items/3", headers=way(write)).status_code == 200


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    monkeypatch.setattr(
        security.hmac, "compare_digest", lambda one, other: compared.append(one) or one == other
    )
    known = Tokens(tuple(security._digest(f"r{n}") for n in range(3)), (security._digest("w"),))
    assert [known.right(one) for one in ("r0", "r2", "w", "x")] == ["read", "read", "write", None]
    assert len(compared) == 4 * 4


def test_a_token_file(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("# who\n\nread: aaaaaaaaaaaaaaaa\nwrite:bbbb:bbbbbbbbbbbbb\n")
    tokens = read_tokens(path)
    assert tokens.right("aaaaaaaaaaaaaaaa") == "read"
    assert tokens.right("bbbb:bbbbbbbbbbbbb") == "write"
    assert b"aaaa" not in repr(tokens).encode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no token"),
        ("# nobody\n", "holds no token"),
        ("aaaaaaaaaaaaaaaaaaaaa\n", "line 1: say read:TOKEN or write:TOKEN"),
        ("admin:aaaaaaaaaaaaaaaa\n", "line 1: say read:TOKEN"),
        ("read:aaaaaaaaaaaaaaaa\nwrite:short\n", "line 2: a token has at least 16"),
        ("read:" + 16 * "é", "line 1: a token has at least 16 printable ASCII"),
    ],
)
def test_a_wrong_token_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LookalikeError, match=said) as refused:
        read_tokens(path)
    assert "aaaaa" not in str(refused.value)


def test_a_token_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LookalikeError, match="can't be read"):
        read_tokens(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(LookalikeError, match="is not UTF-8"):
        read_tokens(tmp_path / "binary")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "shop.example"])
def test_other_machines_need_a_token(host: str, tokens: Said) -> None:
    with pytest.raises(LookalikeError, match="--token-file"):
        require_safe(host, Settings())
    assert require_safe(host, Settings(tokens=tokens[2])).hosts is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_this_machine_needs_none_but_its_own_name(host: str) -> None:
    hosts = require_safe(host, Settings()).hosts or ()
    assert set(LOOPBACK) <= set(hosts) <= {*LOOPBACK, host}


def test_with_tokens_a_proxy_may_pass_on_any_name(tokens: Said) -> None:
    assert require_safe("127.0.0.1", Settings(tokens=tokens[2])).hosts is None


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("LOCALHOST", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("evil.example:8000", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
    ],
)
def test_a_name_that_points_here_from_elsewhere_is_refused(
    serve: Callable[..., TestClient], gallery_path: Path, name: str, status: int
) -> None:
    client = serve(gallery_path, hosts=LOOPBACK)
    assert client.get("/v1/items", headers={"Host": name}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://testserver"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://testserver:81"}, 403),
        ({"Origin": "https://testserver"}, 200),
        ({"Origin": "http://["}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "null", "Host": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_another_sites_page_changes_nothing(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    assert client.delete("/v1/items/3", headers=headers).status_code == status
    assert client.get("/v1/gallery").json()["items"] == (20 if status == 200 else 21)


def test_other_sites_may_not_read_unless_they_are_named(
    serve: Callable[..., TestClient], client: TestClient, gallery_path: Path, tokens: Said
) -> None:
    asking = {"Origin": "https://shop.example"}
    preflight = asking | {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "Authorization",
    }
    assert "access-control-allow-origin" not in client.get("/v1/items", headers=asking).headers
    assert client.options("/v1/items", headers=preflight).status_code == 405
    named = serve(gallery_path, tokens=tokens[2], cors_origins=("https://shop.example",))
    assert named.options("/v1/items", headers=preflight).status_code == 200
    allowed = named.get("/v1/items", headers=asking | bearer(tokens[0]))
    assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
    assert "access-control-allow-credentials" not in allowed.headers
    assert named.get("/v1/items", headers=asking).status_code == 401
    others = named.get("/v1/items", headers={"Origin": "https://evil.example"} | bearer(tokens[0]))
    assert "access-control-allow-origin" not in others.headers
    removed = named.delete("/v1/items/3", headers=asking | bearer(tokens[1]))
    assert removed.status_code == 200


def test_every_answer_tells_browsers_what_they_may(guarded: TestClient, tokens: Said) -> None:
    for path in ("/healthz", "/", "/v1/items", "/v1/nothing", "/v1/items/3/thumbnail"):
        for headers in ({}, bearer(tokens[0])):
            answer = guarded.get(path, headers=headers)
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert "http" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert "cache-control" in answer.headers
    assert (
        guarded.get("/v1/items", headers=bearer(tokens[0])).headers["cache-control"] == "no-store"
    )


def test_the_document_loads_nothing_and_shows_no_pages_of_others(client: TestClient) -> None:
    assert client.get("/openapi.json").status_code == 200
    for path in ("/docs", "/redoc"):
        assert client.get(path).status_code == 404


def test_the_document_says_how_a_token_is_said(client: TestClient) -> None:
    document: dict[str, Any] = client.get("/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "login"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert bool(operation["security"]) == (path not in ("/healthz", "/readyz"))
            assert path in ("/healthz", "/readyz") or "401" in operation["responses"]


def test_an_app_can_be_made_without_settings(gallery_path: Path) -> None:
    with TestClient(create_app(gallery_path)) as client:
        assert client.get("/v1/gallery").json()["name"] == "gallery"
