"""The folder of a run that goes on, and what makes sure that it goes on as it began.

OUT.training/               while it runs
    plan.json               what was asked, what was planned, on which photos and which network
    cache/                  what the frozen part of the network made of each view
    rehearsal/, whole/      checkpoints: trained on a part of the photos, then on all
    encoder/                what becomes OUT, in one step
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from retrieval.errors import LookalikeError
from retrieval.training import planning
from retrieval.training.planning import Plan

PLAN = "plan.json"
KEPT = "training"
"""The folder within an encoder that keeps the plan, the metrics and the curves of its training."""


def work_folder(out: Path) -> Path:
    """Return where a run for an encoder's folder works."""
    return out.parent / f"{out.name}.training"


def can_resume(out: Path) -> bool:
    """Whether a run for this encoder was begun and not finished."""
    return (work_folder(out) / PLAN).is_file()


def is_finished(out: Path) -> bool:
    """Whether all is done but for clearing the run's folder away."""
    begun, done = work_folder(out) / PLAN, out / KEPT / PLAN
    return begun.is_file() and done.is_file() and begun.read_bytes() == done.read_bytes()


def require_places(out: Path, *, resume: bool) -> None:
    """Make sure that a run may begin, or go on.

    Raises:
        LookalikeError: Something is in the way, or there is nothing to go on with.
    """
    work = work_folder(out)
    if not out.name or (_occupied(out) and not (resume and is_finished(out))):
        raise LookalikeError(f"{out} exists and is not empty: choose another place.")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise LookalikeError(f"{out} can't be made in {out.parent}: choose another place.")
    if can_resume(out):
        if not resume:
            raise LookalikeError(
                f"{work} holds a run that was not finished: go on with --resume, or delete it."
            )
    elif resume:
        raise LookalikeError(f"There is no run to go on with at {work}: leave --resume out.")
    elif _occupied(work):
        raise LookalikeError(f"{work} is in the way and no run of mine: move it.")


def begin(out: Path, given: Mapping[str, Any], make_plan: Callable[[], Plan]) -> Plan:
    """Make the plan and write it down; or read the one of the run that goes on.

    Args:
        out: The encoder's folder.
        given: `asked`, the wishes by name; `photos` and `network`, digests of what they apply to.
        make_plan: Makes the plan.

    Raises:
        LookalikeError: The run that goes on was begun with something else, or the plan can't be
            made, or the disk is too small for it.
    """
    work = work_folder(out)
    path = work / PLAN
    if path.is_file():
        stored = json.loads(path.read_bytes())
        _require_same(stored, given, work)
        return planning.from_json(stored["plan"])
    plan = make_plan()
    free = shutil.disk_usage(out.parent).free
    if plan.cache_bytes > free:
        raise LookalikeError(
            f"The cache takes {plan.cache_bytes / 1e6:,.0f} MB, and {out.parent} has "
            f"{free / 1e6:,.0f} MB free: make room, or say fewer --views or --mode head."
        )
    text = json.dumps({**given, "plan": planning.as_json(plan)}, indent=2)
    work.mkdir(exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
    return plan


def clear(out: Path) -> None:
    """Delete the run's folder; the plan last, so that until then it can be told whose it is."""
    work = work_folder(out)
    for one in work.iterdir():
        if one.is_dir():
            shutil.rmtree(one)
    shutil.rmtree(work)


def _occupied(folder: Path) -> bool:
    if not folder.is_dir():
        return folder.exists()
    return any(one.name != f"{Path(PLAN).stem}.part" for one in folder.iterdir())


def _require_same(stored: Mapping[str, Any], given: Mapping[str, Any], work: Path) -> None:
    for name, value in stored["asked"].items():
        if given["asked"].get(name) != value:
            option = f"--{name.replace('_', '-')}"
            raise LookalikeError(
                f"{work} was begun with {option} {value}, not {given['asked'].get(name)}: go on "
                "with the same options, or delete it."
            )
    for name, what in (("photos", "photos"), ("network", "weights to begin with")):
        if stored[name] != given[name]:
            raise LookalikeError(
                f"The {what} are not those that {work} was begun with: restore them, or delete it."
            )
