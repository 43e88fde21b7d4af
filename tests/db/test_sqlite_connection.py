"""A store in a folder that may not be written to: read as far as can be, and never wrongly."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from db import NewItem, Store

WORKER = Path(__file__).with_name("reading_worker.py")
Ask = Callable[[str], str]


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "a #1 gallery?"
    folder.mkdir()
    path = folder / "gallery.db"
    Store.create(path, fingerprint="f", encoder_name="e", dim=4, settings={}).close()
    with writing(path) as store:
        add(store, "a")
    yield path
    folder.chmod(0o755)


def add(store: Store, name: str) -> None:
    with store.write() as tx:
        one = NewItem(path=name, content_hash=name, width=1, height=1, file_size=1, mtime_ns=1)
        tx.add_items([one], np.eye(4, dtype=np.float32)[:1])


@contextmanager
def writing(path: Path) -> Iterator[Store]:
    """Open a store for a while as somebody who may write to its folder."""
    path.parent.chmod(0o755)
    with closing(Store.open(path)) as store:
        yield store
    path.parent.chmod(0o555)


@pytest.fixture
def ask(path: Path, without_privileges: list[str]) -> Iterator[Ask]:
    """Tell a process that may not write to the folder a wish, and return the line it answers."""
    command = [*without_privileges, sys.executable, str(WORKER), str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as worker:
        assert worker.stdin
        assert worker.stdout

        def tell(wish: str) -> str:
            worker.stdin.write(f"{wish}\n")
            return worker.stdout.readline().rstrip("\n")

        yield tell
        worker.stdin.close()
        assert worker.wait(30) == 0


def test_a_store_that_nobody_has_open_is_read(path: Path, ask: Ask) -> None:
    assert ask("read") == "items 1"
    assert ask("glance") == "seq 1"
    assert [file.name for file in path.parent.iterdir()] == ["gallery.db"]
    refusal = ask("write")
    assert refusal == (
        f"refused: {path} can't be written to: check the permissions of it and its folder."
    )
    assert ask("read") == "items 1"


def test_what_others_write_is_seen_while_they_are_there_and_after(path: Path, ask: Ask) -> None:
    assert (ask("read"), ask("glance")) == ("items 1", "seq 1")
    with writing(path) as store:
        add(store, "b")
        path.parent.chmod(0o555)
        assert (ask("read"), ask("glance")) == ("items 2", "seq 2")
        add(store, "c")
        assert (ask("read"), ask("glance")) == ("items 3", "seq 3")
    assert (ask("read"), ask("glance")) == ("items 3", "seq 3")
    with writing(path) as store:
        add(store, "d")
    assert (ask("glance"), ask("read")) == ("seq 4", "items 4")


def test_a_change_in_the_midst_of_reading_without_locks_is_told(path: Path, ask: Ask) -> None:
    assert ask("hold") == "holding 1"
    with writing(path) as store:
        add(store, "b")
    assert ask("go on").startswith(f"refused: {path} was changed by another process while ")
    assert ask("read") == "items 2"


def test_an_older_store_says_that_it_must_be_written_once(
    path: Path, without_privileges: list[str]
) -> None:
    with writing(path) as store, store._backend.engine.connect() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
        connection.commit()
    before = path.read_bytes()
    command = [*without_privileges, sys.executable, str(WORKER), str(path)]
    done = subprocess.run(command, input="read\n", capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(
        f"{path} was written by an older lookalike, and must be opened once by a process that may "
        "write to its folder."
    )
    assert path.read_bytes() == before


def test_a_store_left_by_a_killed_process_is_read_with_its_log(
    path: Path, tmp_path: Path, without_privileges: list[str]
) -> None:
    left = tmp_path / "left"
    with writing(path) as store:
        add(store, "b")
        shutil.copytree(path.parent, left)
    assert (left / "gallery.db-wal").stat().st_size

    def read() -> str:
        left.chmod(0o555)
        command = [*without_privileges, sys.executable, str(WORKER), str(left / "gallery.db")]
        done = subprocess.run(command, input="read\n", capture_output=True, text=True, check=False)
        left.chmod(0o755)
        return done.stdout or done.stderr.splitlines()[-1]

    assert read() == "items 2\n"
    (left / "gallery.db-shm").unlink()
    assert read().endswith(
        f"{left / 'gallery.db'} was left by a process that was killed, and must be opened once by "
        "one that may write to its folder."
    )
    Store.open(left / "gallery.db").close()
    assert read() == "items 2\n"
