"""Runs `lookalike`, telling what a build embeds and what it was told is stored.

Run by test_building_faults.py: `python building_worker.py EVENTS ARGUMENT…`. It builds once a line
comes in, so that several can begin together.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from retrieval import building, dividing
from retrieval.building import Builder
from retrieval.cli import main
from retrieval.embedding import Embedded, Outcome
from retrieval.sources import Source

# Small, so that there are many commits to be caught between, and shares for all.
building._COMMIT_PHOTOS = 4
dividing._CLAIMED = 8


def tell(events: Path) -> None:
    """Let builders write down each step."""
    embed, commit, run = building.embed, Builder._commit, Builder.run

    def say(what: str, paths: list[str]) -> None:
        with events.open("a") as told:
            told.write(json.dumps([what, paths]) + "\n")

    def telling_embed(*args: Any, **kwargs: Any) -> Iterator[Outcome]:
        for outcome in embed(*args, **kwargs):
            if isinstance(outcome, Embedded):
                say("embedded", [str(outcome.source.path)])
            yield outcome

    def telling_commit(self: Builder, outcomes: list[Outcome]) -> None:
        commit(self, outcomes)
        say("stored", [str(one.source.path) for one in outcomes if isinstance(one, Embedded)])

    def waiting_run(self: Builder, sources: Sequence[Source]) -> building.BuildReport:
        say("ready", [])
        sys.stdin.readline()
        return run(self, sources)

    building.embed = telling_embed
    Builder._commit = telling_commit  # type: ignore[method-assign]
    Builder.run = waiting_run  # type: ignore[method-assign]


if __name__ == "__main__":
    tell(Path(sys.argv[1]))
    main(sys.argv[2:])
