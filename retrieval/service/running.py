"""Running the service: a socket, one process or several, an end in good order."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import tempfile
from dataclasses import dataclass, replace
from types import FrameType
from typing import TYPE_CHECKING, Any

from retrieval.errors import LookalikeError
from retrieval.place import Place
from retrieval.service.security import LOOPBACK
from retrieval.service.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

# Requests that were taken have so long to be answered after SIGTERM.
_LAST_SECONDS = 3
_BACKLOG = 2048
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def require_safe(host: str, settings: Settings) -> Settings:
    """Make sure that only those who may can reach the service, and return how it is to be served.

    Raises:
        LookalikeError: Other machines could reach it, and there are no tokens.
    """
    if settings.tokens:
        return settings
    if not _is_loopback(host):
        raise LookalikeError(
            f"With --host {host} other machines reach this gallery: name a --token-file with a "
            "line like write:TOKEN, or serve 127.0.0.1 only."
        )
    return replace(settings, hosts=(*LOOPBACK, f"[{host}]" if ":" in host else host))


def bind(host: str, port: int) -> socket.socket:
    """Take the address; port 0 takes any that is free.

    Raises:
        LookalikeError: It can't be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # By its protocol's name asyncio knows that it may switch Nagle's delay off: 40 ms an answer.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # a port that was just given back may be taken
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
        return listening
    except OSError as error:
        listening.close()
        raise LookalikeError(
            f"{host}:{port} can't be listened on ({error.strerror}): choose another --port or "
            "--host."
        ) from error


def run(place: Place, settings: Settings, listening: socket.socket, workers: int) -> None:
    """Serve until SIGTERM or Ctrl-C; what was taken by then is finished."""
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    config = uvicorn.Config(
        _Factory(place, settings),
        factory=True,
        workers=workers,
        backlog=_BACKLOG,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=_LAST_SECONDS,
    )
    # Once it has ended in good order uvicorn raises the signal again, for whoever stands around.
    before = {one: signal.signal(one, lambda *_: None) for one in _SIGNALS}
    try:
        if workers == 1:
            uvicorn.Server(config).run([listening])
        else:
            # Imported by the processes to come: from then on they count together.
            with tempfile.TemporaryDirectory(prefix="lookalike-metrics-") as shared:
                os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared
                Multiprocess(config, [listening]).run()
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@dataclass(frozen=True)
class _Factory:
    """Makes the app, in whichever process it is called."""

    place: Place
    settings: Settings

    def __call__(self) -> FastAPI:
        from retrieval.service.app import create_app

        app = create_app(self.place, self.settings)
        for one in _SIGNALS:
            signal.signal(one, _noting(app, signal.getsignal(one)))
        return app


def _noting(app: FastAPI, handler: Any) -> Any:
    """Tell the app that it is stopping: streams that never end would keep it."""

    def handle(number: int, frame: FrameType | None) -> None:
        app.state.serving.stopping = True
        if callable(handler):
            handler(number, frame)

    return handle


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
