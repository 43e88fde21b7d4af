"""Texts that would break statements are texts, the same wherever a gallery is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from milvus_server import MilvusProcess
from PIL import Image
from postgres_server import PostgresServer

from db import Condition, NewItem, StoreError
from db.texts import LONGEST
from retrieval import Gallery
from retrieval.conditions import written
from retrieval.errors import GalleryError

HOSTILE = (
    *("'", '"', "''", "\\", "\\'", "\\N", "\\.", "\\u0000", "\\x00", "`", "$$", "$1", "$body$"),
    *("%", "%s", "%%", "%(path)s", "{0}", "{table}", ":name", "::text", "?", "?1", "@x", "#"),
    *("'; DROP TABLE items; --", "x' OR '1'='1", "/* */", "-- ", "); DELETE FROM vectors; --"),
    *("NULL", "true", "0", "-1", "1e400", "nan", " a", "a ", "a b", "\t", "\n", "\r\n"),
    *("ü", "u\u0308", "İ", "ß", "😀", "👩‍👩‍👧", "\u202e", "\ufeff", "\ufffe"),
    *("\x01", "\x7f", "\U0010ffff"),
    *("*", "[", "]", "[a-z]", "[^", "a|b", '""', "=", "!=", "~=*", "<", "label", "__proto__"),
    *("x" * 500, "ü" * (LONGEST // 2 - 20), "😀" * (LONGEST // 4 - 10)),
)  # fmt: skip
PATTERNS = (
    *HOSTILE,
    "*'*",
    "*%*",
    "*\\*",
    "[%:$]*",
    "*[]]*",
    "[^a-z]",
    "?",
    "*😀*",
    "*;*--*",
    "[\\]*",
)
UNKEEPABLE = ("a\0b", "\0", "a\ud800b", "\udfff")
DIM = 256


def unit(seed: int, count: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def hostile_item(number: int, text: str) -> NewItem:
    return NewItem(
        path=f"/{number}/{text}",
        content_hash=f"{number:064x}",
        width=1,
        height=1,
        file_size=1,
        mtime_ns=1,
        label=text,
        source_label=text,
        metadata={text: text, "number": number, "deep": {text: [text]}},
    )


def fill(gallery: Gallery) -> Gallery:
    """Put in an item for each text: one by one, and many at once, which go other ways."""
    items = [hostile_item(number, text) for number, text in enumerate(HOSTILE)]
    with gallery._store.write() as tx:
        tx.add_items(items[:5], unit(0, len(items))[:5])
    with gallery._store.write() as tx:
        tx.add_items(items[5:], unit(0, len(items))[5:])
    return gallery


@pytest.fixture
def galleries(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    postgres_server: PostgresServer,
    tiny_encoder: Path,
) -> Iterator[tuple[Gallery, Gallery]]:
    """A gallery in a folder, and one in a database, of the same items."""
    with (
        Gallery.create(tmp_path / "gallery", encoder=str(tiny_encoder)) as folder,
        Gallery.create(postgres_server.new_database(), encoder=str(tiny_encoder)) as database,
    ):
        index = getattr(request, "param", "ivf")
        if index == "milvus":
            server: MilvusProcess = request.getfixturevalue("milvus_server")
            index = server.uri.replace("http", "milvus")
        database.choose_index(index)
        yield fill(folder), fill(database)


def of_both(galleries: tuple[Gallery, Gallery], ask: Callable[[Gallery], Any]) -> Any:
    """Ask both, and return the answer they agree on: what comes of it, or the refusal's text."""

    def told(gallery: Gallery) -> Any:
        try:
            return ask(gallery)
        except (GalleryError, StoreError) as error:
            return str(error)

    mine, other = map(told, galleries)
    assert mine == other
    return mine


def nearest(gallery: Gallery, where: Condition) -> list[tuple[Any, ...]]:
    return [
        (one.path, one.label, one.distance, one.metadata)
        for answers in gallery.nearest(unit(1, 2), 3, where=where)
        for one in answers
    ]


@pytest.mark.parametrize(
    "galleries",
    ["ivf", "milvus"],
    indirect=True,
)
def test_texts_stay_what_they_are(galleries: tuple[Gallery, Gallery]) -> None:
    items = of_both(
        galleries,
        lambda one: [(item.path, item.label, item.metadata) for item in one.items()],
    )
    assert items == [
        (f"/{number}/{text}", text, hostile_item(number, text).metadata)
        for number, text in enumerate(HOSTILE)
    ]
    assert of_both(galleries, Gallery.labels) == dict.fromkeys(sorted(HOSTILE), 1)
    for number, text in enumerate(HOSTILE):
        alone = [text]

        def labels(gallery: Gallery, **asked: Any) -> list[str | None]:
            return [item.label for item in gallery.items(**asked)]

        assert of_both(galleries, lambda one, t=text: labels(one, label=t)) == alone
        for field, value in (("label", text), ("path", f"/{number}/{text}"), (text, text)):
            condition = Condition(field, "=", (value,))
            for where in (condition, written(condition)):
                assert of_both(galleries, lambda one, w=where: labels(one, where=w)) == alone
        but = Condition("label", "!=", (text,))
        assert len(of_both(galleries, lambda one, w=but: one.find(where=w))) == len(HOSTILE) - 1
        by_label = Condition("label", "=", (text,))
        found = of_both(galleries, lambda one, w=by_label: nearest(one, w))
        assert {one[1] for one in found} == {text}
        held = of_both(
            galleries, lambda one, t=text: [x.label for x in one.find_items(t, limit=500)[0]]
        )
        assert text in held
    everything = Condition("label", "=", HOSTILE)
    assert len(of_both(galleries, lambda one: nearest(one, everything))) == 6
    assert of_both(galleries, lambda one: one.check().problems) == ()


def test_patterns_mean_the_same(galleries: tuple[Gallery, Gallery]) -> None:
    for pattern in PATTERNS:
        for field in ("label", "path", "'", "😀"):
            where = Condition(field, "~=", (pattern,))
            of_both(galleries, lambda one, w=where: one.find(where=w))
    sizes = [
        len(
            of_both(
                galleries, lambda one, p=pattern: one.find(where=Condition("label", "~=", (p,)))
            )
        )
        for pattern in ("*", "*'*", "[%:$]*", "absent")
    ]
    assert sizes == [len(HOSTILE), *(sum("'" in one for one in HOSTILE),), 9, 0]


def test_what_is_done_to_some_is_done_to_no_others(galleries: tuple[Gallery, Gallery]) -> None:
    for text in HOSTILE[:12]:
        done = of_both(
            galleries, lambda one, t=text: one.relabel(one.find(label=t), f"{t} renamed")
        )
        assert done == 1
        where = Condition("label", "=", (f"{text} renamed",))
        assert of_both(galleries, lambda one, w=where: one.remove(one.find(where=w))) == 1
    assert of_both(galleries, Gallery.count) == len(HOSTILE) - 12
    for ids in ([2**63, 0], [2**70, -1, 0], [-(2**70), 0]):
        assert of_both(galleries, lambda one, i=ids: one.remove(i)) == 0
        assert of_both(galleries, lambda one, i=ids: one.relabel(i, "x")) == 0
        assert of_both(galleries, lambda one, i=ids: one.find(ids=i)) == []
        assert "no removed item" in of_both(galleries, lambda one, i=ids: one.restore(i[0]))
        after = max(0, *ids)
        found = of_both(galleries, lambda one, a=after: one.find_items(after=a)[1])
        assert found == len(HOSTILE) - 12
    assert of_both(galleries, lambda one: one.check().problems) == ()


def test_what_cannot_be_kept_is_refused_in_a_sentence(galleries: tuple[Gallery, Gallery]) -> None:
    def write(gallery: Gallery, count: int, **changes: Any) -> None:
        items = [hostile_item(900 + number, f"more {number}") for number in range(count)]
        values = {name: getattr(items[-1], name) for name in NewItem.__slots__}
        items[-1] = NewItem(**(values | changes))
        with gallery._store.write() as tx:
            tx.add_items(items, unit(3, count))

    def require_refusal(ask: Callable[[Gallery], Any], words: str) -> None:
        said = of_both(galleries, ask)
        assert isinstance(said, str)
        assert words in said
        assert said.endswith(".")
        assert "\n" not in said
        assert "\0" not in said

    (first,) = of_both(galleries, lambda one: one.find(label="'"))
    for text in UNKEEPABLE:
        words = "NUL" if "\0" in text else "halves of letters"
        for changes in (
            {"label": text},
            {"source_label": text},
            {"path": f"/{text}"},
            {"metadata": {"k": text}},
            {"metadata": {text: "v"}},
            {"metadata": {"k": [{"deep": text}]}},
        ):
            for count in (1, 20):
                require_refusal(lambda one, n=count, c=changes: write(one, n, **c), words)
        require_refusal(lambda one, t=text: one.relabel([first], t), words)
        require_refusal(lambda one, t=text: one.find(label=t), words)
        require_refusal(lambda one, t=text: one.find_items(t), words)
        for condition in (Condition("label", "=", (text,)), Condition(text, "~=", ("x",))):
            require_refusal(lambda one, w=condition: one.find(where=w), "no text")
    for changes in ({"label": "x" * 9000}, {"path": "/" + "ü" * 4000}):
        for count in (1, 20):
            require_refusal(lambda one, n=count, c=changes: write(one, n, **c), "is longer than")
    require_refusal(lambda one: one.relabel([first], "x" * 9000), "is longer than")
    for number in (float("nan"), float("inf")):
        changes = {"metadata": {"k": number}}
        require_refusal(lambda one, c=changes: write(one, 1, **c), "no infinite numbers")
    assert of_both(galleries, lambda one: [item.label for item in one.items()]) == list(HOSTILE)
    assert of_both(galleries, lambda one: one.check().problems) == ()


def test_a_photo_too_deep_to_be_named_is_noted(
    galleries: tuple[Gallery, Gallery],
    tmp_path: Path,
    draw_photo: Callable[..., Image.Image],
) -> None:
    photos = tmp_path / "photos"
    deep = photos.joinpath(*["d" * 250] * 11, "deep.png")
    deep.parent.mkdir(parents=True)
    for number, path in enumerate((photos / "%s" / "'; --.png", deep)):
        path.parent.mkdir(exist_ok=True)
        draw_photo("red", number).save(path)
    for added, unchanged in ((1, 0), (0, 1)):
        report = of_both(galleries, lambda one: replace(one.build(photos), item_ids=[]))
        assert (report.added, report.unchanged) == (added, unchanged)
        (failed,) = report.failed
        assert failed.path.startswith(str(photos))
        assert failed.path.endswith("d/deep.png")
        assert "longer than 2,600 bytes" in failed.reason
    assert of_both(galleries, lambda one: len(one.failures())) == 1
    deep.unlink()
    assert of_both(galleries, lambda one: one.build(photos).failed) == []
    assert of_both(galleries, Gallery.failures) == []
