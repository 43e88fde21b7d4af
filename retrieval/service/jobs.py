"""Long work: one piece at a time for a gallery, in a thread, told in files that all processes read.

A job is a file `jobs/ID.json` in the gallery's folder `service/`. The process that does it writes
it anew as it goes on, and at least every few seconds; one that has not been written for long was
broken off with its process.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Literal

from db import StoreError
from retrieval.building import Progress
from retrieval.errors import LookalikeError
from retrieval.json_text import to_json
from retrieval.service.problems import ProblemError, without_folders

_log = logging.getLogger(__name__)

Kind = Literal["evaluation", "tuning"]
RESULTS: dict[Kind, str] = {"evaluation": "/v1/evaluation", "tuning": "/v1/thresholds"}
"""Where the result of a job is found."""
# Written anew so often, and given up for lost after so long.
_BEAT, _LOST = 1.0, 15.0
# Jobs that are remembered.
_KEPT = 20
_FAULT = "It ended with a fault of the service; its log says more."
_BROKEN_OFF = "It was broken off, as the service ended: start it again."


@dataclass(frozen=True)
class Job:
    """A piece of long work.

    Attributes:
        id: Its name.
        kind: What is done.
        state: How far it is.
        done: Steps done.
        total: Steps there are; 0 where nobody knows yet.
        result: The path at which the result is found when it is done.
        problem: Why it failed, in one sentence.
        created_at: When it was begun, UTC.
        updated_at: When it was last heard of, UTC.
    """

    id: str
    kind: Kind
    state: Literal["running", "done", "failed"]
    done: int
    total: int
    result: str
    problem: str | None
    created_at: str
    updated_at: str


class Jobs:
    """The jobs of a gallery, of all processes that serve it."""

    def __init__(self, folder: Path) -> None:
        """Keep them in `folder`, which is made when it is needed."""
        self._folder = folder
        self._lock = Lock()
        self._mine: Job | None = None
        self._closed = Event()

    def all(self) -> list[Job]:
        """Return the jobs that are remembered, newest first."""
        found = [job for path in self._folder.glob("*.json") if (job := _read(path))]
        return sorted(found, key=lambda job: (job.created_at, job.id), reverse=True)

    def get(self, job_id: str) -> Job | None:
        """Return one job; the name is compared with those there are, never made into a path."""
        return next((job for job in self.all() if job.id == job_id), None)

    def start(self, kind: Kind, gallery: Path, work: Callable[[Progress], None]) -> Job:
        """Begin a piece of work.

        Args:
            kind: What is done.
            gallery: The gallery's folder, which sentences don't name.
            work: Does it, telling how far it is.

        Raises:
            ProblemError: Another one is being done.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._lock, self._turn():
            running = next((job for job in self.all() if job.state == "running"), None)
            if running is not None:
                raise ProblemError(
                    409,
                    f"The {running.kind} {running.id} is still running: wait for its end.",
                    job=running.id,
                )
            now = _now()
            job = Job(secrets.token_hex(8), kind, "running", 0, 0, RESULTS[kind], None, now, now)
            self._write(job)
            self._forget()
            self._mine = job
        Thread(target=self._run, args=(job, gallery, work), name="job", daemon=True).start()
        Thread(target=self._beat, args=(job,), name="job-beat", daemon=True).start()
        return job

    def close(self) -> None:
        """Note that what is still running is broken off with this process."""
        with self._lock:
            self._closed.set()
            if self._mine is not None and self._mine.state == "running":
                self._settle(state="failed", problem=_BROKEN_OFF)

    def _run(self, job: Job, gallery: Path, work: Callable[[Progress], None]) -> None:
        def progress(done: int, total: int) -> None:
            with self._lock:
                if not self._closed.is_set():
                    self._mine = replace(self._mine or job, done=done, total=total)

        problem: str | None = None
        try:
            work(progress)
        except (LookalikeError, StoreError) as error:
            problem = without_folders(str(error), gallery)
        except OSError as error:
            problem = f"The gallery's folder can't be used for this ({error.strerror})."
        except Exception:  # noqa: BLE001 - told to the log, and the job must not stay running
            # Once the gallery is closed under it, it can but fail.
            if not self._closed.is_set():
                _log.exception("A job failed.")
            problem = _FAULT
        with self._lock:
            if not self._closed.is_set():
                self._settle(state="failed" if problem else "done", problem=problem)

    def _beat(self, job: Job) -> None:
        while not self._closed.wait(_BEAT):
            with self._lock:
                mine = self._mine
                if mine is None or mine.id != job.id or mine.state != "running":
                    return
                self._write(mine)

    def _settle(self, *, state: Literal["done", "failed"], problem: str | None) -> None:
        if self._mine is not None:
            self._mine = replace(self._mine, state=state, problem=problem)
            self._write(self._mine)

    def _write(self, job: Job) -> None:
        job = replace(job, updated_at=_now())
        with tempfile.NamedTemporaryFile(
            "w", dir=self._folder, suffix=".new", delete=False, encoding="utf-8"
        ) as file:
            file.write(to_json(job))
        Path(file.name).replace(self._folder / f"{job.id}.json")

    def _forget(self) -> None:
        for old in self.all()[_KEPT:]:
            (self._folder / f"{old.id}.json").unlink(missing_ok=True)
        for left in self._folder.glob("*.new"):
            with suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > _LOST:
                    left.unlink()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Begin jobs in turn with other processes, so that there is never more than one."""
        path = self._folder / "turn"
        while True:
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL))
                break
            except FileExistsError:
                with suppress(FileNotFoundError):
                    # It is held for an instant: an old one was left by a process that was killed.
                    if time.time() - path.stat().st_mtime > _LOST:
                        path.unlink()
                time.sleep(0.02)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _read(path: Path) -> Job | None:
    try:
        job = Job(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:  # forgotten meanwhile
        return None
    silent = datetime.now(UTC) - datetime.fromisoformat(job.updated_at)
    if job.state == "running" and silent.total_seconds() > _LOST:
        return replace(job, state="failed", problem=_BROKEN_OFF)
    return job


def _now() -> str:
    return f"{datetime.now(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
