"""Two writers, four readers, a compactor, and a killer that takes one of them away every second.

    nice python tests/retrieval/stress.py --seconds 120

Every process is real and works on the same gallery, whose vectors are made up. A model is told of
every change; at the end every answer must have been right at some moment between its question and
its end, every write that was acknowledged must be there, and `check` must find nothing. Prints what
was done as JSON; exit code 1 where anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

# Processes that share cores wait for each other's threads; and they all begin as copies of one.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)

import stress_workers
from stress_model import Answer, Change, Model, queries, vectors_of, wrong_answers

from db import Store
from retrieval import Gallery
from retrieval.folder import STORE

ROLES: dict[str, Callable[..., None]] = {
    **{f"writer-{number}": stress_workers.write for number in range(2)},
    **{f"reader-{number}": stress_workers.read for number in range(4)},
    "compactor": stress_workers.keep_compact,
}


class StressError(Exception):
    """What the stress test found wrong."""


def events(log: Path) -> list[dict[str, Any]]:
    """Return what a process has told; a line cut short by its end was never told."""
    return [json.loads(line) for line in log.read_text().split("\n")[:-1]]


class Crew:
    """The processes; each that is killed is followed by another of its name."""

    def __init__(self, gallery: Path, logs: Path, threads: int) -> None:
        self._gallery, self._logs, self._threads = gallery, logs, threads
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["stress_workers", "faiss"])
        self._alive: dict[str, Any] = {}
        self._lives = dict.fromkeys(ROLES, 0)
        # Changes that were told but not acknowledged, and yet committed.
        self.unacknowledged: list[Change] = []
        for name in ROLES:
            self._start(name)

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.{self._lives[name]}"

    def wait_until_all_work(self) -> None:
        deadline = time.monotonic() + 120
        while not all(self.log(name).exists() and events(self.log(name)) for name in ROLES):
            self._require_alive()
            if time.monotonic() > deadline:
                raise StressError("a process did not begin to work within two minutes")
            time.sleep(0.05)

    def kill(self, name: str, *, restart: bool = True) -> None:
        self._require_alive()
        process = self._alive.pop(name)
        process.kill()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            raise StressError(f"{name} ended by itself with exit code {process.exitcode}")
        if name.startswith("writer"):
            self._settle(self.log(name))
        if restart:
            self._lives[name] += 1
            self._start(name)

    def _start(self, name: str) -> None:
        arguments = (self._gallery, self.log(name), name, self._lives[name])
        options = {"threads": self._threads} if name.startswith("reader") else {}
        process = self._context.Process(
            target=ROLES[name], args=arguments, kwargs=options, daemon=True
        )
        process.start()
        self._alive[name] = process

    def _require_alive(self) -> None:
        for name, process in self._alive.items():
            if not process.is_alive():
                raise StressError(f"{name} ended by itself with exit code {process.exitcode}")

    def _settle(self, log: Path) -> None:
        """Find out whether the last change of a killed writer was committed."""
        told = events(log) if log.exists() else []
        if not told or "done" in told[-1]:
            return
        change = Change.told(told[-1])
        # A write transaction, so that what was not committed never will be: of the last one killed,
        # SQLite may find a whole commit in its log that nobody has seen yet.
        with closing(Store.open(self._gallery / STORE)) as store, store.write() as tx:
            paths = [path for path, _ in change.added.values()]
            found = {item.path for item in tx.items(paths=paths)}
            ids = [*change.removed, *change.relabelled]
            labels = {item.id: item.label for item in tx.items(ids=ids)}
        before = {int(one): label for one, label in told[-1].get("before", {}).items()}
        happened = {path in found for path in paths}
        happened |= {one not in labels for one in change.removed}
        happened |= {
            labels[one] == label for one, label in change.relabelled.items() if label != before[one]
        }
        if len(happened) > 1:
            raise StressError(f"half of a write is there: {told[-1]}")
        if happened == {True}:
            self.unacknowledged.append(change)


def history(logs: Path, unacknowledged: list[Change]) -> list[Change]:
    """Return all changes that were committed, in order."""
    changes = list(unacknowledged)
    for log in logs.glob("writer-*"):
        told = events(log)
        done = {event["done"] for event in told if "done" in event}
        changes += [Change.told(one) for one in told if one.get("seq") in done]
    changes.sort(key=lambda change: change.seq)
    if len({change.seq for change in changes}) != len(changes):
        raise StressError("two writes were given the same sequence number")
    return changes


def answers(logs: Path) -> list[Answer]:
    return [
        Answer(
            told["first"],
            told["last"],
            tuple(told["queries"]),
            [[(one[0], one[1], one[2]) for one in some] for some in told["items"]],
            [[(one[0], one[1], one[2]) for one in some] for some in told["identities"]],
            told["count"],
        )
        for log in logs.glob("reader-*")
        for told in events(log)
    ]


def compare_with_store(gallery: Path, model: Model) -> None:
    """Make sure that a gallery holds what the model says, answers so, and passes its check."""
    stress_workers.look_into_every_cell()
    with Gallery.open(gallery) as opened:
        held = {item.id: (item.path, item.label) for item in opened.items()}
        if held != model.items:
            lost, extra = model.items.keys() - held.keys(), held.keys() - model.items.keys()
            raise StressError(
                f"lost: {sorted(lost)}; never acknowledged or removed: {sorted(extra)}"
            )
        with opened._store.read() as tx:
            dim = tx.encoder.dim
            for part in tx.vectors():
                paths = [held[one][0] for one in part.item_ids.tolist()]
                if not (vectors_of(paths, dim).astype("<f2") == part.data).all():
                    raise StressError("a stored vector is not what was stored")
        for number, nearest in enumerate(opened.nearest(queries(dim), 5)):
            expected = [one[0] for one in model.nearest(number)[:5]]
            if [one.id for one in nearest] != expected:
                raise StressError(f"at the end, query {number} is answered wrongly")
        report = opened.check()
        if not report.clean:
            raise StressError(f"check: {report.problems}")


def stress(folder: Path, seconds: float, seed: int, threads: int) -> dict[str, int]:
    """Run the whole; return what was done."""
    choose = random.Random(seed)
    gallery, logs = folder / "gallery", folder / "logs"
    logs.mkdir(parents=True)
    Gallery.create(gallery, encoder="siamese", precision="float32").close()
    crew = Crew(gallery, logs, threads)
    crew.wait_until_all_work()
    kills, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(choose.uniform(0.9, 1.1))
        crew.kill(choose.choice(list(ROLES)))
        kills += 1
    for name in ROLES:
        crew.kill(name, restart=False)
    changes, told = history(logs, crew.unacknowledged), answers(logs)
    with closing(Store.open(gallery / STORE)) as store, store.read() as tx:
        model = Model(tx.encoder.dim)
    wrong = wrong_answers(model, changes, told)
    if wrong:
        raise StressError(f"{len(wrong)} of {len(told)} answers are wrong, such as {wrong[0]}")
    compare_with_store(gallery, model)
    compactions = [one for log in logs.glob("compactor.*") for one in events(log)]
    return {
        "kills": kills,
        "changes": len(changes),
        "unacknowledged": len(crew.unacknowledged),
        "answers": len(told),
        "of_several_moments": sum(one.first < one.last for one in told),
        "generations": sum(one["written"] for one in compactions),
        "purged": sum(one["purged"] for one in compactions),
        "items": len(model.items),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of each reader, sharing an index")
    parser.add_argument("--folder", type=Path, help="where to work; kept, unlike a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lookalike-stress-") as temporary:
        folder = arguments.folder or Path(temporary)
        try:
            done = stress(folder, arguments.seconds, arguments.seed, arguments.threads)
        except StressError as error:
            sys.exit(f"{error}.")
    sys.stdout.write(json.dumps(done) + "\n")


if __name__ == "__main__":
    main()
