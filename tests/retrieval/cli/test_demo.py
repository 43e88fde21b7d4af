"""`demo`: with the real default encoder, from nothing to answers, as a newcomer sees it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result


@pytest.mark.slow
def test_the_demo_knows_the_known_and_not_the_strangers(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    result = run("demo", "--folder", tmp_path / "demo")
    assert result.exit_code == 0
    assert result.stderr == ""
    text = result.stdout
    assert "  40 known packagings, 6 strangers" in text
    assert "\n200 added, 0 unchanged\n" in text
    assert re.search(r"\nthreshold 0\.\d{4} \(margin, fpir=0\.05, tuned on gallery\)\n", text)
    counts = [
        tuple(map(int, found))
        for found in re.findall(
            r"… (\d+) photos: (\d+) matched rightly, (\d+) wrongly, (\d+) unknown", text
        )
    ]
    (known, right, wrong, unknown), (strangers, none, mistaken, rejected) = counts
    assert (known, right + wrong + unknown) == (40, 40)
    assert (strangers, none, mistaken + rejected) == (12, 0, 12)
    assert right >= 30
    assert rejected >= 9
    examples = re.findall(r"^  (\S+) +→ (.+)  \(\d\.\d{3}\)$", text, re.MULTILINE)
    assert len(examples) == 8
    assert (f"match: {examples[0][0]}") in {said for _, said in examples[:4]}
    assert "unknown" in {said for _, said in examples[4:]}
    proposals = re.findall(r"^  lookalike (.+)$", text.partition("Now you:")[2], re.MULTILINE)
    assert [shlex.split(line)[0] for line in proposals] == [
        *("query", "query", "eval", "info", "build-index")
    ]
    for line in proposals[:-1]:
        assert run(*shlex.split(line)).exit_code == 0, line
