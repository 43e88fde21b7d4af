"""`--where`: the same conditions confine a query, a list, a removal and a relabelling."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]
Ask = Callable[..., list[dict[str, Any]]]
Contents = Callable[[Path], dict[str, str]]

CSV = '''path,label,brand,max. price
red/0.png,red,Acme,2.50
red/1.png,red,"A|B ""best""",10
green/0.png,green,Acme,9
green/1.png,green,' OR 1=1 --,cheap
blue/0.png,,Acme,
'''


@pytest.fixture
def branded(run: Run, photos: Path, gallery_path: Path) -> Path:
    """A gallery of fifteen photos, five of which a CSV says more of."""
    csv = photos / "labels.csv"
    csv.write_text(CSV, encoding="utf-8")
    assert run("build-index", photos, "-g", gallery_path, "--labels", csv).exit_code == 0
    return gallery_path


def names(items: list[dict[str, Any]]) -> list[str]:
    return ["/".join(Path(item["path"]).parts[-2:]) for item in items]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (["brand=Acme"], ["blue/0.png", "green/0.png", "red/0.png"]),
        (["brand!=Acme"], ["green/1.png", "red/1.png"]),
        (["brand=' OR 1=1 --"], ["green/1.png"]),
        (['brand="A|B ""best"""'], ["red/1.png"]),
        (["brand=Acme", "label=red|green"], ["green/0.png", "red/0.png"]),
        (["max. price<10"], ["green/0.png", "red/0.png"]),
        (["max. price >= 9"], ["green/0.png", "red/1.png"]),
        (["max. price="], ["blue/0.png"]),
        (["label=", "path~=*/0.png"], ["blue/0.png"]),
        (["label=teal"], []),
        (["brand=Acme", "brand!=Acme"], []),
    ],
    ids=" ".join,
)
def test_items_that_meet_all_conditions_are_listed(
    where: list[str], found: list[str], ask_json: Ask, branded: Path
) -> None:
    options = [part for one in where for part in ("--where", one)]
    assert sorted(names(ask_json("list", "-g", branded, *options))) == found


def test_labels_of_some_items_are_counted(run: Run, branded: Path) -> None:
    result = run("list", "--labels", "-g", branded, "--where", "brand=Acme")
    assert result.stdout == "green: 1 item\nred: 1 item\n"
    failures = run("list", "--failures", "-g", branded, "--where", "brand=Acme")
    assert failures.exit_code == 2
    assert "--where speaks of items" in failures.stderr


def test_a_query_is_answered_among_some(
    run: Run, ask_json: Ask, branded: Path, photos: Path, query_photo: Path
) -> None:
    options = ("-g", branded, "--threshold", 2, "--where", "brand=Acme", "--where", "label!=red")
    (answer,) = ask_json("query", query_photo, *options)
    assert sorted(names(answer["items"])) == ["blue/0.png", "green/0.png"]
    assert answer["where"] == ["brand=Acme", "label!=red"]
    assert answer["among"] == 2
    lines = run("query", query_photo, *options).stdout.splitlines()
    assert "among 2 items where brand=Acme and label!=red" in lines
    assert len(ask_json("query", photos, *options)) == 15


def test_a_query_that_nobody_is_left_for_says_so(
    run: Run, ask_json: Ask, branded: Path, query_photo: Path
) -> None:
    options = ("-g", branded, "--where", "label=teal")
    result = run("query", query_photo, *options)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        str(query_photo),
        "unknown",
        "No item of this gallery meets the conditions, so there is nothing to compare with.",
        "among 0 items where label=teal",
    ]
    (answer,) = ask_json("query", query_photo, *options)
    assert (answer["decision"], answer["items"], answer["among"]) == ("unknown", [], 0)


def test_items_that_meet_conditions_are_removed_and_relabelled(
    ask_json: Ask, run: Run, branded: Path
) -> None:
    relabel = ("relabel", "-g", branded, "--to", "cheap", "--where", "max. price<3")
    assert ask_json(*relabel) == [{"relabelled": 1}]
    assert names(ask_json("list", "-g", branded, "--label", "cheap")) == ["red/0.png"]
    refused = run("remove", "-g", branded, "--where", "brand=Acme", answer="n\n")
    assert refused.exit_code == 1
    assert "Remove 3 items" in refused.stderr
    remove = ("remove", "--yes", "-g", branded, "--label", "cheap", "--where", "brand=Acme")
    assert ask_json(*remove) == [{"removed": 1}]
    assert ask_json("list", "-g", branded, "--label", "cheap") == []
    assert len(ask_json("list", "-g", branded)) == 14


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("query", ()),
        ("list", ()),
        ("list", ("--labels",)),
        ("remove", ("--yes",)),
        ("relabel", ("--no-label",)),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("brnd=Acme", "No item has a field 'brnd': there are label, path, brand, max. price"),
        ("brand", "'brand' is no condition"),
        ("label==red", "in double quotes"),
        ("max. price<cheap", "compares numbers"),
        ("label=\udcff", "no text"),
    ],
)
def test_conditions_that_cannot_be_used_are_refused_and_nothing_changes(
    command: str,
    options: tuple[str, ...],
    where: str,
    said: str,
    refusal: Callable[..., str],
    contents: Contents,
    branded: Path,
    query_photo: Path,
) -> None:
    before = contents(branded)
    photo = (query_photo,) if command == "query" else ()
    assert said in refusal(command, *photo, *options, "-g", branded, "--where", where)
    assert contents(branded) == before


@pytest.mark.parametrize("command", [("remove", "--yes"), ("relabel", "--to", "x")], ids=" ".join)
def test_conditions_that_nobody_meets_change_nothing(
    command: tuple[str, ...], refusal: Callable[..., str], contents: Contents, branded: Path
) -> None:
    before = contents(branded)
    sentence = refusal(*command, "-g", branded, "--where", "label=teal")
    assert re.match("No item of .+ is meant by that", sentence)
    assert contents(branded) == before
