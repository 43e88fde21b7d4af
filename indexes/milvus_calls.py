"""Calls of a Milvus server: connected at first use, bounded in time, failures told in a sentence.

The calls are those of Milvus's own protocol, by the messages that pymilvus brings. Its client would
hide the timestamp of a write, which says what a later search has to wait for, and repeat a call to
a server that is down for as long as a slow one may take.
"""

from __future__ import annotations

import base64
import time
from threading import Lock
from typing import Any
from urllib.parse import unquote, urlsplit

from indexes.protocol import CollectionGone, EngineError

CONNECT_SECONDS = 5.0
"""How long a server may take to let us in, or to come back."""
CALL_SECONDS = 30.0
"""How long a call may take, with all that the server has to do before."""

_PORT = 19530
_TLS_PORT = 443
# How long to wait before a server that isn't ready is asked again.
_PAUSE_SECONDS = 0.1
# Milvus's error codes: https://github.com/milvus-io/milvus/blob/master/pkg/util/merr/errors.go
_COLLECTION_NOT_FOUND = 100
_NO_INDEX = 700
_NOT_LOADED = frozenset({101, 103, 201, 202})
_NOT_READY = frozenset({1, 2, 8, 106, 401, 503, 601, 602, 901, 902, 903, 904})


class NotLoaded(EngineError):  # noqa: N818 - a state of the server, told apart to be mended
    """A collection has to be loaded before it can be asked."""


class NoIndex(EngineError):  # noqa: N818 - a state of the server, told apart to be mended
    """A collection has neither graph nor cells yet."""


def protocol() -> Any:
    """Return the package of Milvus's messages.

    Raises:
        EngineError: pymilvus is not installed.
    """
    try:
        from pymilvus import grpc_gen
        from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc, schema_pb2
    except ImportError as problem:
        raise EngineError(
            "A gallery on Milvus needs pymilvus: pip install 'lookalike[milvus]'."
        ) from problem
    del common_pb2, milvus_pb2, milvus_pb2_grpc, schema_pb2  # part of it from now on
    return grpc_gen


class Calls:
    """The calls of one server. Threads may share it."""

    def __init__(self, uri: str, token: str | None = None) -> None:
        """Know the server; nothing is sent yet.

        Args:
            uri: `http://host:port`, or `https` for TLS; user and password, and a database as
                path, may be part of it.
            token: What the server knows us by, instead of user and password.

        Raises:
            EngineError: The URI is none of a Milvus server.
        """
        try:
            parts = urlsplit(uri)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise EngineError("A Milvus server is named as http://host:port or https://host:port.")
        self._secure = parts.scheme == "https"
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.address: str = f"{host}:{port or (_TLS_PORT if self._secure else _PORT)}"
        if token is None and parts.username is not None:
            token = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        self._metadata = [("dbname", unquote(parts.path.strip("/")))]
        if token:
            self._metadata.append(("authorization", base64.b64encode(token.encode()).decode()))
        self._lock = Lock()
        self._channel: Any = None
        self._stub: Any = None

    def call(self, name: str, **fields: Any) -> Any:
        """Call the server, again where it was not ready, and return what it answers.

        Args:
            name: Of a call that may be repeated without harm.
            fields: Of its request.

        Raises:
            EngineError: The server can't be reached, takes too long or refuses.
            CollectionGone: What is asked for isn't there any more.
            NotLoaded: The collection has to be loaded first.
            NoIndex: It has no index to be described.
        """
        request = getattr(protocol().milvus_pb2, f"{name}Request")(**fields)
        import grpc

        until = time.monotonic() + CALL_SECONDS
        while True:
            method = getattr(self._connected(), name)
            left = max(until - time.monotonic(), _PAUSE_SECONDS)
            try:
                answer = method(request, timeout=left, metadata=self._metadata)
            except grpc.RpcError as problem:
                if problem.code() == grpc.StatusCode.UNAVAILABLE and time.monotonic() < until:
                    self._wait_until_ready()
                    continue
                raise self._told(name, problem) from problem
            status = getattr(answer, "status", answer)
            if not status.code and not status.error_code:
                return answer
            if status.code == _COLLECTION_NOT_FOUND:
                raise CollectionGone(
                    f"The Milvus server at {self.address} holds no such collection: "
                    f"{status.reason}. It can be made anew from the store."
                )
            if status.code == _NO_INDEX:
                raise NoIndex(f"The Milvus server at {self.address}: {status.reason}")
            if status.code in _NOT_LOADED:
                raise NotLoaded(f"The Milvus server at {self.address}: {status.reason}")
            if status.code not in _NOT_READY or time.monotonic() >= until:
                raise EngineError(
                    f"The Milvus server at {self.address} refused {name}: {status.reason} "
                    f"(code {status.code})."
                )
            time.sleep(_PAUSE_SECONDS)

    def close(self) -> None:
        """Let the connection go; another call makes a new one."""
        with self._lock:
            if self._channel is not None:
                self._channel.close()
            self._channel = self._stub = None

    def _connected(self) -> Any:
        with self._lock:
            if self._stub is None:
                self._channel, self._stub = self._connect()
                self._wait_until_ready()
            return self._stub

    def _connect(self) -> tuple[Any, Any]:
        import grpc

        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            # Else a server that is back is not tried for up to two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]
        if self._secure:
            credentials = grpc.ssl_channel_credentials()
            channel = grpc.secure_channel(self.address, credentials, options=options)
        else:
            channel = grpc.insecure_channel(self.address, options=options)
        return channel, protocol().milvus_pb2_grpc.MilvusServiceStub(channel)

    def _wait_until_ready(self) -> None:
        import grpc

        ready = grpc.channel_ready_future(self._channel)
        try:
            ready.result(timeout=CONNECT_SECONDS)
        except grpc.FutureTimeoutError as problem:
            ready.cancel()
            raise EngineError(
                f"No Milvus server answers at {self.address} within {CONNECT_SECONDS:g} s. "
                "Start it, or correct the address."
            ) from problem

    def _told(self, name: str, problem: Any) -> EngineError:
        import grpc

        code = problem.code()
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return EngineError(
                f"The Milvus server at {self.address} did not finish {name} within "
                f"{CALL_SECONDS:g} s. It may be overloaded or still starting: try again."
            )
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return EngineError(
                f"The Milvus server at {self.address} doesn't let us in: {problem.details()}. "
                "Give it a user and password that it knows, or a token."
            )
        return EngineError(
            f"The Milvus server at {self.address} failed at {name}: {problem.details()} "
            f"({code.name})."
        )
