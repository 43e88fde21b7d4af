"""Conditions as SQL: they find what plain Python finds, whatever names and values are made of."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres_server import PostgresServer

from db import Condition, NewItem, Store, StoreError
from db.conditions import OPERATORS, ORDERINGS, Operator, number
from db.expressions import regular_expression

HOSTILE = [
    "",
    "x' OR 1=1 --",
    "'; DROP TABLE items; --",
    '"',
    '$."a"',
    "a.b",
    "[0]",
    "%",
    "_",
    "*",
    "größe 😀",
    "\\u0041",
    "a\nb",
    ":x",
    "?",
    "12",
    "-0.5",
    "1e3",
    "1_000",
    "nan",
    "null",
    "%s",
    "%(x)s",
    "\\",
    "{a,b}",
]


@pytest.fixture(scope="module")
def module_store(module_place: Path | str) -> Iterator[Store]:
    made = Store.create(module_place, fingerprint="f", encoder_name="e", dim=2, settings={})
    yield made
    made.close()


@pytest.fixture
def store(module_store: Store) -> Store:
    with module_store.write() as tx:
        tx.remove_items([item.id for item in tx.items()])
        tx.purge_vectors(up_to=tx.seq)
    return module_store


def new_item(
    path: str, label: str | None = None, metadata: dict[str, Any] | None = None
) -> NewItem:
    return NewItem(
        path=path,
        content_hash=path,
        width=1,
        height=1,
        file_size=1,
        mtime_ns=1,
        label=label,
        metadata=metadata or {},
    )


def fill(store: Store, *items: NewItem) -> list[int]:
    with store.write() as tx:
        return tx.add_items(items, np.eye(2, dtype=np.float32)[np.zeros(len(items), dtype=int)])


def paths(store: Store, *where: Condition) -> list[str]:
    with store.read() as tx:
        return [item.path for item in tx.items(where=where)]


def meets(item: NewItem, condition: Condition) -> bool:
    """Say by plain Python what the docs say; without patterns."""
    fields = item.metadata | {"label": item.label or "", "path": item.path}
    if condition.field not in fields:
        return False
    value, operator = fields[condition.field], condition.operator
    if operator == "=":
        return value in condition.values
    if operator == "!=":
        return value not in condition.values
    left, right = number(value), number(condition.values[0])
    if left is None or right is None:
        return False
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[
        operator
    ]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("place", ["label", "field", "value", "path"])
def test_hostile_texts_are_compared_letter_for_letter(store: Store, name: str, place: str) -> None:
    other = f"{name}."
    if place == "label":
        items = [new_item("/a", name or None), new_item("/b", other)]
    elif place == "path":
        items = [new_item(name), new_item(other)]
    elif place == "field":
        items = [new_item("/a", None, {name: "v"}), new_item("/b", None, {other: "v"})]
    else:
        items = [new_item("/a", None, {"f": name}), new_item("/b", None, {"f": other})]
    fill(store, *items)
    field, value = {
        "label": ("label", name),
        "path": ("path", name),
        "field": (name, "v"),
        "value": ("f", name),
    }[place]
    first, second = items[0].path, items[1].path
    assert paths(store, Condition(field, "=", (value,))) == [first]
    assert paths(store, Condition(field, "=", (value, "else"))) == [first]
    assert paths(store, Condition(field, "!=", (value,))) == ([] if place == "field" else [second])
    with store.read() as tx:
        assert tx.count_items() == 2
        assert tx.metadata_fields() == sorted({key for item in items for key in item.metadata})


texts = st.sampled_from(["", "a", "A", "a.b", "3", "03", "3.0", "-1", "1e1", " 2", "x", "größe"])
items_drawn = st.lists(
    st.tuples(
        st.none() | texts.filter(bool),
        st.dictionaries(st.sampled_from(["f", 'g"', "ü.h", "label", ""]), texts, max_size=3),
    ),
    max_size=6,
)


@st.composite
def conditions_drawn(draw: st.DrawFn) -> Condition:
    operator = draw(st.sampled_from([one for one in OPERATORS if one != "~="]))
    field = draw(st.sampled_from(["label", "path", "f", 'g"', "ü.h", "", "absent"]))
    if operator in ORDERINGS:
        return Condition(field, operator, (draw(st.sampled_from(["3", "-1.5", "10", "0"])),))
    return Condition(field, operator, tuple(draw(st.lists(texts, min_size=1, max_size=3))))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=items_drawn, where=st.lists(conditions_drawn(), max_size=3))
def test_items_found_are_those_plain_python_finds(
    store: Store, drawn: list[tuple[str | None, dict[str, str]]], where: list[Condition]
) -> None:
    # A metadata key `label` is none that can be asked for: the column is meant.
    items = [new_item(f"/{n}", label, metadata) for n, (label, metadata) in enumerate(drawn)]
    with store.write() as tx:
        tx.remove_items([item.id for item in tx.items()])
    ids = fill(store, *items)
    right = [all(meets(item, one) for one in where) for item in items]
    assert paths(store, *where) == [
        item.path for item, met in zip(items, right, strict=True) if met
    ]
    with store.read() as tx:
        item_ids = tx.vectors_meeting(where)[1].tolist()
        labelled = tx.label_counts(where)
    assert sorted(item_ids) == [one for one, met in zip(ids, right, strict=True) if met]
    met_labels = [item.label for item, met in zip(items, right, strict=True) if met and item.label]
    assert labelled == {label: met_labels.count(label) for label in met_labels}


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*/2024/*", ["/p/2024/a.jpg", "/p/2024/b.JPG"]),
        ("*.jpg", ["/p/2024/a.jpg", "/p/2023/[x]*.jpg"]),
        ("*/?.jpg", ["/p/2024/a.jpg"]),
        ("*[[]x][*]*", ["/p/2023/[x]*.jpg"]),
        ("/p/2024", []),
        ("*", ["/p/2024/a.jpg", "/p/2024/b.JPG", "/p/2023/[x]*.jpg"]),
        ("%", []),
    ],
)
def test_patterns_are_those_of_glob(store: Store, pattern: str, found: list[str]) -> None:
    fill(store, *map(new_item, ("/p/2024/a.jpg", "/p/2024/b.JPG", "/p/2023/[x]*.jpg")))
    assert paths(store, Condition("path", "~=", (pattern,))) == found
    assert paths(store, Condition("path", "~=", ("nothing", pattern))) == found


def test_items_without_a_label_have_the_empty_one(store: Store) -> None:
    fill(store, new_item("/a", None), new_item("/b", "tea"))
    assert paths(store, Condition("label", "=", ("",))) == ["/a"]
    assert paths(store, Condition("label", "=", ("", "tea"))) == ["/a", "/b"]
    assert paths(store, Condition("label", "!=", ("",))) == ["/b"]
    assert paths(store, Condition("label", "!=", ("tea",))) == ["/a"]
    assert paths(store, Condition("label", "~=", ("*",))) == ["/a", "/b"]


def test_metadata_that_is_no_text_is_compared_as_it_reads(store: Store) -> None:
    fill(
        store,
        new_item("/a", None, {"f": 3, "g": [1], "h": None}),
        new_item("/b", None, {"f": 2.5}),
    )
    assert paths(store, Condition("f", "=", ("3",))) == ["/a"]
    assert paths(store, Condition("f", "<", ("3",))) == ["/b"]
    assert paths(store, Condition("g", "~=", ("*",))) == []
    assert paths(store, Condition("h", "!=", ("x",))) == []


@pytest.mark.parametrize(
    ("said", "value"),
    [
        *(("3", 3), ("003", 3), ("+.5", 0.5), (" 2 ", 2), ("1e3", 1000), ("-1", -1), (3, 3)),
        *(("", None), ("3 kg", None), ("1_000", None), ("nan", None), ("inf", None)),
        *(("-inf", None), ("0x1", None), (None, None), (b"3", None), (10**400, None)),
    ],
)
def test_what_is_a_number(said: object, value: float | None) -> None:
    assert number(said) == value


NUMBERS = [
    *("3", "+.5", " 2 ", "1.", "1e400", "-1e400", "1e-400", "0e999", "1e999999999", "1e-", "e5"),
    *("1" + "0" * 400, "0." + "0" * 400 + "1", "1" * 40, "9007199254740993", "4.9e-324", "1.5E+3"),
    *("", " ", "-", ".", "1e5 kg", "nan", "infinity", "-inf", "0x1", "1_000", "1,5", "NaN", "1 2"),
    *("٣", "３.５", "१e२", "²", "½", "\U0001d7d8", "--1", "'1'", "1::int", "\\d", "1\n", "\n1"),
    *("\u2003-7\u3000", "\x1c5", "\x0b5\x0c", "\x855", "٣\x1f"),
]


@pytest.mark.parametrize("operator", ORDERINGS)
def test_numbers_are_those_of_plain_python(store: Store, operator: Operator) -> None:
    items = [new_item(f"/{n}", None, {"f": text}) for n, text in enumerate(NUMBERS)]
    fill(store, *items)
    for limit in ("0", "3", "1e300", "-1e9", "9007199254740992"):
        condition = Condition("f", operator, (limit,))
        right = [item.path for item in items if meets(item, condition)]
        assert paths(store, condition) == right


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_no_text_is_too_odd_to_be_a_number(store: Store, text: str) -> None:
    item = new_item("/a", None, {"f": text})
    with store.write() as tx:
        tx.remove_items([item.id for item in tx.items()])
    fill(store, item)
    condition = Condition("f", ">=", ("-1e300",))
    assert bool(paths(store, condition)) == meets(item, condition)


PATTERN_LETTERS = "ab]-[^*?.\\d(|{+$ü😀'%\n"


@settings(max_examples=300, deadline=None)
@given(
    pattern=st.text(PATTERN_LETTERS, max_size=8),
    texts=st.lists(st.text(PATTERN_LETTERS, max_size=5), max_size=5, unique=True),
)
def test_a_pattern_means_the_same_to_every_database(
    pattern_judges: tuple[Callable[..., bool], Callable[..., bool]],
    pattern: str,
    texts: list[str],
) -> None:
    sqlite_says, postgres_says = pattern_judges
    for text in [*texts, pattern]:
        assert sqlite_says(text, pattern) == postgres_says(text, pattern), (text, pattern)


@pytest.fixture(scope="module")
def pattern_judges(
    postgres_server: PostgresServer,
) -> Iterator[tuple[Callable[..., bool], Callable[..., bool]]]:
    """What SQLite and PostgreSQL say of a text and a pattern."""
    with (
        closing(sqlite3.connect(":memory:")) as file,
        psycopg.connect(postgres_server.new_database()) as server,
    ):

        def sqlite_says(text: str, pattern: str) -> bool:
            return bool(file.execute("SELECT ? GLOB ?", (text, pattern)).fetchone()[0])

        def postgres_says(text: str, pattern: str) -> bool:
            query = 'SELECT %s::text COLLATE "C" ~ %s'
            row = server.execute(query, (text, regular_expression(pattern))).fetchone()
            assert row is not None
            return bool(row[0])

        yield sqlite_says, postgres_says


def test_vectors_of_what_is_gone_are_not_meant(store: Store) -> None:
    where = [Condition("label", "=", ("tea",))]
    first, second = fill(store, new_item("/a", "tea"), new_item("/b", "tea"))
    with store.write() as tx:
        tx.remove_items([first])
    with store.read() as tx:
        assert tx.vectors_meeting(where)[1].tolist() == [second]
        assert tx.vectors_meeting(())[1].tolist() == [second]
        assert tx.vectors_meeting([Condition("label", "=", ("x",))])[0].shape == (0,)


def test_a_condition_is_looked_up_where_it_can_be(tmp_path: Path) -> None:
    """A million vectors are not to be read for the ids of a few."""
    path = tmp_path / "gallery.db"
    store = Store.create(path, fingerprint="f", encoder_name="e", dim=2, settings={})
    fill(store, new_item("/a", "tea"))
    statements: list[str] = []
    with store.read() as tx:
        driver = tx.driver_connection
        driver.set_trace_callback(statements.append)
        tx.vectors_meeting([Condition("label", "=", ("tea",)), Condition("f", "=", ("x",))])
        driver.set_trace_callback(None)
        plan = [row[-1] for row in driver.execute(f"EXPLAIN QUERY PLAN {statements[-1]}")]
    assert "SEARCH vectors USING COVERING INDEX ix_vectors_item_id (item_id=?)" in plan
    assert any(line.startswith("SEARCH items USING INDEX ix_items_label") for line in plan)
    store.close()


def test_what_the_database_refuses_is_told(store: Store) -> None:
    fill(store, new_item("/a"))
    # Longer than SQLite takes patterns, and more than PostgreSQL takes for one.
    pattern = "*?" * 30_000
    with pytest.raises(StoreError, match="refused"), store.read() as tx:
        list(tx.items(where=[Condition("path", "~=", (pattern,))]))
