"""The language of conditions: what is written is what is read, and mistakes are told."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.conditions import OPERATORS, ORDERINGS
from retrieval import Condition, GalleryError
from retrieval.conditions import conditions, parse, written


@pytest.mark.parametrize(
    ("text", "field", "operator", "values"),
    [
        ("label=Apple", "label", "=", ["Apple"]),
        ("label=Apple|Pear", "label", "=", ["Apple", "Pear"]),
        ("label=tench, Tinca tinca", "label", "=", ["tench, Tinca tinca"]),
        ("label!=", "label", "!=", [""]),
        ("label=a||b", "label", "=", ["a", "", "b"]),
        (" price  <=  -1.5 ", "price", "<=", ["-1.5"]),
        ("price>3", "price", ">", ["3"]),
        ("path~=*/2024/*|*/2023/*", "path", "~=", ["*/2024/*", "*/2023/*"]),
        ("wow!=x", "wow", "!=", ["x"]),
        ("a~b=c", "a~b", "=", ["c"]),
        ("a.b c=d", "a.b c", "=", ["d"]),
        ("url=http://x/?a=b", "url", "=", ["http://x/?a=b"]),
        ('size=5" pipe', "size", "=", ['5" pipe']),
        ('size="5"" pipe"', "size", "=", ['5" pipe']),
        ('label="a|b"|c', "label", "=", ["a|b", "c"]),
        ('label=" a " | b', "label", "=", [" a ", "b"]),
        ('label="=a"', "label", "=", ["=a"]),
        ('size="""S"" to ""M"""', "size", "=", ['"S" to "M"']),
        ('"price<"="a"', "price<", "=", ["a"]),
        ('"a""b" != c', 'a"b', "!=", ["c"]),
        ('""=a', "", "=", ["a"]),
        ("größe=a\nb", "größe", "=", ["a\nb"]),
    ],
)
def test_a_condition_is_read(text: str, field: str, operator: str, values: list[str]) -> None:
    read = parse(text)
    assert (read.field, read.operator, read.values) == (field, operator, tuple(values))


anything = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
signs = st.text(st.sampled_from("ab=!<>~|\" \t'\n"), max_size=6)


@given(
    field=signs | anything,
    operator=st.sampled_from(OPERATORS),
    values=st.lists(signs | anything, min_size=1, max_size=3),
)
def test_what_is_written_is_read_again(field: str, operator: str, values: list[str]) -> None:
    if operator in ORDERINGS:
        values = ["1"]
    condition = Condition(field, operator, tuple(values))
    assert parse(written(condition)) == condition


@given(signs | anything)
def test_any_text_is_read_or_refused(text: str) -> None:
    read = None
    with suppress(GalleryError):
        read = parse(text)
    assert read is None or parse(written(read)) == read


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no condition"),
        ("label", "is no condition"),
        ("=Apple", "is no condition"),
        ("!=Apple", "is no condition"),
        ('"label=Apple', "is no condition"),
        ("label==Apple", "in double quotes"),
        ("price=<3", "in double quotes"),
        ('label="a', "in double quotes"),
        ('label="a"b', "in double quotes"),
        ('label= "a', "in double quotes"),
        ("label= =a", "in double quotes"),
        (' "label=a', "is no condition"),
        ("price<cheap", "compares numbers"),
        ("price<", "compares numbers"),
        ("price<1|2", "compares numbers"),
        ("price>=nan", "compares numbers"),
        ("label=a\0b", "no text"),
        ("label=\udcff", "no text"),
        ("\udcff=a", "no text"),
    ],
)
def test_mistakes_are_told_in_one_sentence(text: str, said: str) -> None:
    with pytest.raises(GalleryError, match=said) as caught:
        conditions([text])
    assert str(caught.value).count(". ") == 0


def test_long_texts_are_read_in_no_time() -> None:
    gap = " " * 200_000
    assert parse(f"a{gap}b=c{gap}d").values == (f"c{gap}d",)
    with pytest.raises(GalleryError, match="is no condition"):
        parse(f"a{gap}b")


def test_conditions_come_alone_together_or_not_at_all() -> None:
    first, second = parse("a=b"), parse("c<3")
    assert conditions(None) == conditions([]) == conditions(()) == ()
    assert conditions("a=b") == conditions(first) == conditions(["a=b"]) == (first,)
    assert conditions(one for one in ("a=b", second)) == (first, second)


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (Condition("a", "==", ("b",)), "no operator '=='"),  # type: ignore[arg-type]
        (Condition("a", "=", ()), "no value"),
        (Condition("a", "<", ("b",)), "compares numbers"),
        (Condition("a\0", "=", ("b",)), "no text"),
    ],
)
def test_conditions_made_by_hand_are_looked_at_too(condition: Condition, said: str) -> None:
    with pytest.raises(GalleryError, match=said):
        conditions(condition)


def test_more_than_sqlite_takes_is_refused() -> None:
    assert len(conditions(Condition("a", "~=", ("b",) * 900))) == 1
    with pytest.raises(GalleryError, match="900"):
        conditions(["a=b"] * 901)
