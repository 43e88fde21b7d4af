"""The commands that would mend what an audit found, ready for a shell."""

from __future__ import annotations

import shlex

from retrieval.auditing import DuplicatePair, Suspect
from retrieval.place import Place


def mend_suspect(suspect: Suspect, gallery: Place) -> str:
    """Return the command that gives a suspect the label its neighbours suggest."""
    return _relabel(suspect.item.id, suspect.suggested_label, gallery)


def mend_duplicate(pair: DuplicatePair, gallery: Place) -> str:
    """Return the command for a pair whose first item is right about its label.

    An unlabelled second gets that label; a labelled one is removed, as the first shows the same.
    """
    if pair.second.label is None and pair.first.label is not None:
        return _relabel(pair.second.id, pair.first.label, gallery)
    return shlex.join(["lookalike", "remove", str(pair.second.id), "-g", str(gallery)])


def _relabel(item_id: int, label: str, gallery: Place) -> str:
    command = ["lookalike", "relabel", str(item_id), "--to", label, "-g", str(gallery)]
    return shlex.join(command)
