"""Who may do what: tokens with scopes, the names the service answers to, other sites' pages.

Plain ASGI, in front of everything: what is refused here has not been read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from retrieval.errors import LookalikeError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

Right = Literal["read", "write"]
OPEN = frozenset({"/healthz", "/readyz"})
"""What is answered without a token: whether the service lives says nothing about the gallery."""
# Asking changes nothing, though it is a POST, as a photo has to be sent.
_READS = frozenset({"/v1/identify"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_SHORTEST = 16
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""Names by which a machine calls itself."""
_CHALLENGE = 'Basic realm="lookalike", charset="UTF-8", Bearer realm="lookalike"'


@dataclass(frozen=True)
class Tokens:
    """Tokens that are known, as SHA-256 digests: what is in memory opens nothing.

    Attributes:
        read: Of tokens that may look and ask.
        write: Of tokens that may also change the gallery.
    """

    read: tuple[bytes, ...] = ()
    write: tuple[bytes, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.read or self.write)

    def right(self, token: str) -> Right | None:
        """Return what a token allows; as slow for a wrong one as for any other."""
        digest = _digest(token)
        known: Right | None = None
        for right, digests in (("read", self.read), ("write", self.write)):
            for one in digests:
                if hmac.compare_digest(one, digest):
                    known = "write" if right == "write" else known or "read"
        return known


def read_tokens(path: Path) -> Tokens:
    """Read a file of tokens: a line is `read:TOKEN` or `write:TOKEN`; `#` begins a comment.

    Raises:
        LookalikeError: It can't be read, or a line is none of these, or a token is short.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise LookalikeError(f"{path} can't be read ({error.strerror}): check the name.") from error
    except UnicodeDecodeError as error:
        raise LookalikeError(f"{path} is not UTF-8 ({error.reason}): save it as UTF-8.") from error
    found: dict[str, list[bytes]] = {"read": [], "write": []}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        right, colon, token = (part.strip() for part in line.partition(":"))
        if right not in found or not colon:
            raise LookalikeError(
                f"{path}, line {number}: say read:TOKEN or write:TOKEN, one a line."
            )
        if len(token) < _SHORTEST or not token.isascii() or not token.isprintable():
            raise LookalikeError(
                f"{path}, line {number}: a token has at least {_SHORTEST} printable ASCII "
                "characters, as `openssl rand -hex 32` makes them."
            )
        found[right].append(_digest(token))
    tokens = Tokens(tuple(found["read"]), tuple(found["write"]))
    if not tokens:
        raise LookalikeError(f"{path} holds no token: write a line like write:TOKEN into it.")
    return tokens


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class Gate:
    """Lets through what may pass, and answers the rest."""

    def __init__(
        self,
        app: ASGIApp,
        tokens: Tokens,
        hosts: tuple[str, ...] | None,
        cors_origins: tuple[str, ...],
    ) -> None:
        """Guard `app`; see `Settings`."""
        self._app = app
        self._tokens = tokens
        self._hosts = None if hosts is None else frozenset(hosts)
        self._origins = frozenset(cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from retrieval.service.problems import problem

        refused = self._refusal(scope)
        if refused is None:
            await self._app(scope, receive, send)
        else:
            status, detail, headers = refused
            await problem(status, detail, headers=headers)(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str, dict[str, str] | None] | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host, path = headers.get(b"host", ""), scope["path"]
        # A page of any site may let its own name point here: it must not speak for the user then.
        if self._hosts is not None and _name(host) not in self._hosts:
            return 421, "The service does not answer to this name: use its own address.", None
        if scope["method"] not in _SAFE and not self._same_site(headers, host):
            return 403, "Another site's page may not do this.", None
        if path in OPEN:
            return None
        if not self._tokens:
            scope["right"] = "write"
            return None
        right = self._tokens.right(_token(headers.get(b"authorization", "")))
        if right is None:
            detail = "Say a token: `Authorization: Bearer TOKEN`, or as the password of a login."
            return 401, detail, {"WWW-Authenticate": _CHALLENGE}
        if right == "read" and scope["method"] not in _SAFE and path not in _READS:
            return 403, "This token is for reading only: use one that may write.", None
        scope["right"] = right
        return None

    def _same_site(self, headers: dict[bytes, str], host: str) -> bool:
        origin = headers.get(b"origin")
        if origin is not None:
            return origin in self._origins or origin in (f"http://{host}", f"https://{host}")
        return headers.get(b"sec-fetch-site", "none") in ("none", "same-origin")


def _name(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name.lower() if port.isdigit() else host.lower()


def _token(authorization: str) -> str:
    """Return the token in a header: a bearer's, or the password of a login."""
    scheme, _, said = authorization.partition(" ")
    said = said.strip()
    if scheme.lower() == "bearer":
        return said
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(said, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""
