"""Tests run to their end whatever becomes of the workers that run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HELPERS = Path(__file__).parent / "helpers"
CONFTEST = """
import os


def pytest_xdist_make_scheduler(config, log):
    from by_group import ByGroup

    return ByGroup(config, log)


def pytest_sessionstart():
    with open("begun-" + os.environ.get("PYTEST_XDIST_WORKER", "all"), "w"):
        pass
"""
TESTS = """
import os
import time

import pytest


@pytest.mark.parametrize("number", range(100))
def test_one(number, worker_id):
    time.sleep(0.05)
    if number == {dies}:
        os._exit(1)
    while number == {dies} + 10 and not os.path.exists("begun-gw2"):
        time.sleep(0.05)
    with open(f"{{worker_id}}-one-{{number}}", "w"):
        pass


@pytest.mark.parametrize("number", range(3))
def test_grocery(number, worker_id):
    with open(f"{{worker_id}}-grocery-{{number}}", "w"):
        pass
"""
NOBODY = -100


def run(folder: Path, dies: int) -> str:
    """Run tests in two workers of which one dies, and return what is said of it."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_some.py").write_text(TESTS.format(dies=dies))
    # What belongs to the worker that runs this test is not for those of the run that it begins.
    environment = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "xdist", "-n", "2"),
            *("-o", f"pythonpath={HELPERS}", "--rootdir", ".", "--basetemp", folder / "temporary"),
        ],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout


def test_a_worker_that_dies_is_replaced_and_the_run_ends(tmp_path: Path) -> None:
    said = run(tmp_path, dies=20)
    assert "1 failed, 102 passed" in said
    assert "crashed while running 'test_some.py::test_one[20]'" in said
    # With one test a worker waits for the next one, and that is all that xdist gives it.
    assert len(list(tmp_path.glob("gw2-*"))) > 1


def test_a_group_is_one_workers(tmp_path: Path) -> None:
    assert "103 passed" in run(tmp_path, dies=NOBODY)
    assert len({path.name.split("-")[0] for path in tmp_path.glob("gw*-grocery-*")}) == 1
