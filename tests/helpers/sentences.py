"""How a command tells what is wrong."""

from __future__ import annotations

import re


def is_a_sentence(said: str) -> bool:
    """Whether standard error holds one sentence and nothing else."""
    return re.fullmatch(r"Error: [^\n]+\.\n", said) is not None
