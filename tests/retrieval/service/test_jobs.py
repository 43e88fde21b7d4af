"""Long work: one piece at a time, known to all processes, never lost sight of."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
from starlette.testclient import TestClient

from retrieval.errors import LookalikeError
from retrieval.service import jobs as jobs_module
from retrieval.service.jobs import Job, Jobs
from retrieval.service.problems import ProblemError


def wait(jobs: Jobs, job: Job) -> Job:
    """Wait for the end of a job."""
    while True:
        found = jobs.get(job.id)
        assert found is not None
        if found.state != "running":
            return found
        time.sleep(0.005)


def test_progress_is_seen_by_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "_BEAT", 0.01)
    mine, other, go_on = Jobs(tmp_path / "jobs"), Jobs(tmp_path / "jobs"), Event()

    def work(progress: Callable[[int, int], None]) -> None:
        progress(3, 8)
        assert go_on.wait(60)
        progress(8, 8)

    job = mine.start("evaluation", tmp_path, work)
    while (seen := other.get(job.id)) and seen.done != 3:
        time.sleep(0.005)
    assert seen is not None
    assert (seen.state, seen.total, seen.result) == ("running", 8, "/v1/evaluation")
    with pytest.raises(ProblemError, match=f"evaluation {job.id} is still running"):
        other.start("tuning", tmp_path, work)
    go_on.set()
    ended = wait(other, job)
    assert (ended.state, ended.done, ended.problem) == ("done", 8, None)
    again = other.start("tuning", tmp_path, lambda _progress: None)
    assert wait(mine, again).state == "done"
    assert [one.id for one in mine.all()] == [again.id, job.id]


def test_a_failure_is_told_without_where_things_lie(tmp_path: Path) -> None:
    def fail(_progress: object) -> None:
        raise LookalikeError(f"{tmp_path}/gallery.db has no luck.")

    jobs = Jobs(tmp_path / "jobs")
    ended = wait(jobs, jobs.start("tuning", tmp_path, fail))
    assert (ended.state, ended.problem) == ("failed", "gallery.db has no luck.")


def test_a_fault_is_told_to_the_log_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_progress: object) -> None:
        raise ZeroDivisionError("secret")

    jobs = Jobs(tmp_path / "jobs")
    ended = wait(jobs, jobs.start("tuning", tmp_path, fail))
    assert ended.state == "failed"
    assert "secret" not in (ended.problem or "")
    assert "secret" in caplog.text


def test_a_job_whose_process_was_killed_is_broken_off(tmp_path: Path) -> None:
    jobs, go_on = Jobs(tmp_path / "jobs"), Event()
    job = jobs.start("tuning", tmp_path, lambda _progress: go_on.wait(60) or None)
    jobs.close()
    go_on.set()
    assert jobs.all()[0].problem == "It was broken off, as the service ended: start it again."
    path = tmp_path / "jobs" / f"{job.id}.json"
    lost = json.loads(path.read_text()) | {
        "state": "running",
        "problem": None,
        "updated_at": "2026-01-01T00:00:00.000Z",
    }
    path.write_text(json.dumps(lost))
    (found,) = Jobs(tmp_path / "jobs").all()
    assert found.state == "failed"
    assert "broken off" in (found.problem or "")


def test_only_the_last_jobs_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "_KEPT", 3)
    jobs = Jobs(tmp_path / "jobs")
    begun = []
    for _ in range(5):
        begun.append(jobs.start("tuning", tmp_path, lambda _progress: None))
        wait(jobs, begun[-1])
    assert {one.id for one in jobs.all()} == {one.id for one in begun[-3:]}


def test_a_turn_that_a_killed_process_left_is_taken(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    left = tmp_path / "jobs" / "turn"
    left.touch()
    os.utime(left, (0, 0))
    jobs = Jobs(tmp_path / "jobs")
    assert wait(jobs, jobs.start("tuning", tmp_path, lambda _progress: None)).state == "done"


@pytest.mark.parametrize("name", ["none", "..", "%2e%2e%2fsecret", "a" * 64])
def test_a_name_is_never_a_path(client: TestClient, gallery_path: Path, name: str) -> None:
    (gallery_path / "service").mkdir()
    (gallery_path / "service" / "secret.json").write_text("{}")
    for url in (f"/v1/jobs/{name}", f"/v1/jobs/{name}/events"):
        answer = client.get(url)
        assert answer.status_code == 404
