"""What gives tests to workers: all tests of a group to one of them, by their names.

The mark `xdist_group` would say it at each test, but xdist 3.8 can't tell it to pytest 9.2.
"""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadScopeScheduling

# Parts of the names of tests that one worker is to run: of a server of which a machine holds one,
# and of photos that take long to embed.
GROUPS = ("milvus", "grocery")


class ByGroup(LoadScopeScheduling):
    """Tests are given out one by one, but for those of a group; a run outlives its workers."""

    def _split_scope(self, nodeid: str) -> str:
        return next((group for group in GROUPS if group in nodeid), nodeid)

    def schedule(self) -> None:
        """Begin, or give work to a worker that replaces one that died."""
        super().schedule()
        # It gets one test from xdist, and with one test a worker waits for the next.
        for node in self.nodes:
            self._reschedule(node)

    def remove_node(self, node: Any) -> str | None:
        """Give what a worker that died had not begun to the others, and return what it died of."""
        assigned = self.assigned_work[node]
        pending = (one for unit in assigned.values() for one, done in unit.items() if not done)
        crashed = next(pending, None)
        if crashed is not None:
            # Of xdist it would kill the next worker too.
            assigned[self._split_scope(crashed)][crashed] = True
        # A worker that is given what is done already gets no test, and never asks for more.
        self.assigned_work[node] = {
            scope: unit for scope, unit in assigned.items() if not all(unit.values())
        }
        super().remove_node(node)
        return crashed
