"""A real S3-compatible server of a test's own, which tells what it was asked and can refuse."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, Self
from urllib.parse import quote

KEY_ID, SECRET = "made-up-key-id", "made-up-secret"
_DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>no</Message></Error>"


class ObjectServer:
    """A server on a free port of this machine, its objects in memory. Use it as a context manager.

    Attributes:
        url: Its endpoint.
        asked: Method and path of every request since it was last emptied.
        denied: Paths, quoted, that are read in vain.
        before_reading: Called before an object is read.
    """

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import MotoRequestHandler
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        class Quiet(MotoRequestHandler):
            def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
                pass

        self.asked: list[tuple[str, str]] = []
        self.denied: set[str] = set()
        self.before_reading: Callable[[], None] = lambda: None
        self._answer = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(
            "127.0.0.1", 0, self._watch, threaded=True, request_handler=Quiet
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def forget(self) -> None:
        """Deny nothing any more, and forget what was asked."""
        self.asked.clear()
        self.denied.clear()
        self.before_reading = lambda: None

    def _watch(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["RAW_URI"]
        self.asked.append((method, path))
        if method == "GET" and "?" not in path:
            self.before_reading()
            if path in self.denied:
                start("403 Forbidden", [("Content-Type", "application/xml")])
                return [_DENIED]
        answer: Iterable[bytes] = self._answer(environ, start)
        return answer


class Bucket:
    """An empty bucket of a server.

    Attributes:
        server: The server.
        name: The bucket's name.
        url: What lookalike calls it.
    """

    def __init__(self, server: ObjectServer, name: str) -> None:
        import boto3

        self.server = server
        self.name = name
        self.url = f"s3://{name}"
        self._client = boto3.client(
            "s3",
            endpoint_url=server.url,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )
        self._client.create_bucket(Bucket=name)

    def put(self, key: str, data: bytes) -> str:
        """Store an object, and return its URL."""
        self._client.put_object(Bucket=self.name, Key=key, Body=data)
        return f"{self.url}/{key}"

    def delete(self, key: str) -> None:
        """Delete an object."""
        self._client.delete_object(Bucket=self.name, Key=key)

    def deny(self, key: str) -> None:
        """Let an object be listed, but not be read."""
        self.server.denied.add(f"/{self.name}/{quote(key)}")

    def read(self) -> list[str]:
        """Return the paths of the objects that were read since the server last forgot."""
        return [path for method, path in self.server.asked if method == "GET" and "?" not in path]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
