"""A real Milvus server of a test's own: started, killed, started again, cleared away."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Self

_HOST = "127.0.0.1"
_LOCK = Path(tempfile.gettempdir()) / "lookalike-milvus.lock"
# Where it leaves a note of itself, wherever its data are.
_NOTES = Path("/tmp/milvus")
# Of its configuration, as the server reads it from its environment.
_SETTINGS = {
    # It would listen for its own parts at the machine's address, which may not be reachable.
    **{
        f"{part}_IP": _HOST
        for part in (
            *("PROXY", "ROOTCOORD", "QUERYCOORD", "QUERYNODE"),
            *("DATACOORD", "DATANODE", "INDEXCOORD", "INDEXNODE"),
        )
    },
    # Seconds after which a killed server's parts count as gone: only then another can start.
    "COMMON_SESSION_TTL": "5",
    # Seconds at most between its parts' tries to reach each other, as they start.
    "GRPC_CLIENT_MAXBACKOFF": "1",
    # Milliseconds a search waits at most for what was written before it.
    "PROXY_TIMETICKINTERVAL": "50",
    # Milliseconds, and one time seconds, between its looks for what to seal, to build and to load.
    "DATACOORD_SEGMENT_ASSIGNMENTEXPIRATION": "200",
    "INDEXCOORD_SCHEDULER_INTERVAL": "200",
    "QUERYCOORD_UPDATENEXTTARGETINTERVAL": "1",
    "QUERYCOORD_CHECKINTERVAL": "200",
    "QUERYCOORD_DISTPULLINTERVAL": "200",
}


class MilvusProcess:
    """A server on a free port of this machine, its data in a folder of its own.

    A machine holds one at a time, as some of its ports are fixed: another waits until it is gone.
    Use it as a context manager; nothing is left of it then but an empty file to lock.
    """

    def __init__(self) -> None:
        from milvus import MilvusServer, MilvusServerConfig

        self._lock = os.open(_LOCK, os.O_RDONLY | os.O_CREAT, 0o666)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.folder = Path(tempfile.mkdtemp(prefix="lookalike-milvus-"))
        self._server = MilvusServer(MilvusServerConfig(data_dir=str(self.folder)))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def uri(self) -> str:
        """What a client connects to, the same after another start."""
        return f"http://{_HOST}:{self._server.listen_port}"

    @property
    def pid(self) -> int:
        """The server's process."""
        return int(self._server.server_proc.pid)

    def start(self) -> None:
        """Start it, after `kill` too, and wait until it answers."""
        with _environment(_SETTINGS), warnings.catch_warnings():
            # Its search for free ports leaves the sockets of those that aren't to be collected.
            warnings.filterwarnings("ignore", "unclosed <socket", ResourceWarning)
            self._server.start()
        # Its ports are still closing after `kill`, and others would be another server to clients.
        self._server.config.resolve = lambda: None

    def kill(self) -> None:
        """Kill it at once, as a crash of the machine would."""
        note = _NOTES / f"server_id_{self.pid}"
        os.kill(self.pid, signal.SIGKILL)
        self._server.stop()
        note.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others have notes there
            _NOTES.rmdir()

    def close(self) -> None:
        """Stop it, and delete its data."""
        if self._server.running:
            self.kill()
        shutil.rmtree(self.folder)
        os.close(self._lock)


class LentMilvus:
    """A server that is started when it is first asked for, and then serves everybody who asks."""

    def __init__(self) -> None:
        self._server: MilvusProcess | None = None
        self._running = contextlib.ExitStack()

    def take(self) -> MilvusProcess:
        """Return the server."""
        if self._server is None:
            self._server = self._running.enter_context(MilvusProcess())
        return self._server

    def give_back(self) -> None:
        """Stop it: whoever waits for the machine's one server can have it."""
        self._server = None
        self._running.close()


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
