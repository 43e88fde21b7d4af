"""Tests run to their end whatever becomes of the workers that run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HELPERS = Path(__file__).parent / "helpers"
CONFTEST = """
def pytest_xdist_make_scheduler(config, log):
    from by_group import ByGroup

    return ByGroup(config, log)
"""
TESTS = """
import os
import time

import pytest


@pytest.mark.parametrize("number", range(16))
def test_one(number):
    time.sleep(0.05)
    if number == {dies}:
        os._exit(1)


@pytest.mark.parametrize("number", range(3))
def test_grocery(number, worker_id):
    with open(f"{{worker_id}}-{{number}}", "w"):
        pass
"""


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
    said = run(tmp_path, dies=5)
    assert "1 failed, 18 passed" in said
    assert "crashed while running 'test_some.py::test_one[5]'" in said


def test_a_group_is_one_workers(tmp_path: Path) -> None:
    assert "19 passed" in run(tmp_path, dies=-1)
    assert len({path.name.split("-")[0] for path in tmp_path.glob("gw*")}) == 1
