"""Searching among some items finds what brute force finds among them, whatever way it is done."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from db import NewItem, Store
from retrieval import Condition, Gallery, GalleryError, filtering, proving
from retrieval.conditions import Conditions, conditions
from retrieval.filtering import Filters
from retrieval.identification import FILTERED, NOBODY, OUTGROWN
from retrieval.ranking import exact_distances
from retrieval.searching import Searcher

DIM, ITEMS = 24, 3000
# Whichever of the two ways the number of items left would choose.
WAYS = pytest.mark.parametrize("scanned", [0, filtering.SCANNED, 10 * ITEMS])


def unit(seed: int, count: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def drawn(seed: int, count: int) -> list[NewItem]:
    return [
        NewItem(
            path=f"/{seed}/{n}",
            content_hash=f"{seed}-{n}",
            width=1,
            height=1,
            file_size=1,
            mtime_ns=1,
            label=None if n % 11 == 0 else f"{n % 40}",
            metadata={"rank": str(n), "shelf": f"{n % 3}"},
        )
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store of 3,000 items that nobody changes."""
    path = tmp_path_factory.mktemp("full") / "gallery.db"
    made = Store.create(path, fingerprint="f", encoder_name="e", dim=DIM, settings={})
    with made.write() as tx:
        tx.add_items(drawn(1, ITEMS), unit(1, ITEMS))
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store of 60 items to be changed."""
    path = tmp_path / "gallery.db"
    made = Store.create(path, fingerprint="f", encoder_name="e", dim=DIM, settings={})
    with made.write() as tx:
        tx.add_items(drawn(1, 60), unit(1, 60))
    yield made
    made.close()


Ranking = list[tuple[float, int]]


def brute_force(store: Store, queries: np.ndarray, where: Conditions) -> list[Ranking]:
    """Order all items that meet the conditions by distance, for each query."""
    with store.read() as tx:
        allowed = [item.id for item in tx.items(where=where)]
        vectors = tx.vectors_of(allowed)
    item_ids = vectors.item_ids.tolist()
    return [
        sorted(zip(exact_distances(query, vectors.data).tolist(), item_ids, strict=True))
        for query in queries
    ]


def assert_exact(searcher: Searcher, store: Store, asked: str, n_queries: int = 3) -> None:
    where = conditions(asked)
    with store.read() as tx:
        shown = {item_id: label or item_id for item_id, label in tx.item_labels()}
    queries = unit(99, n_queries)
    expected = brute_force(store, queries, where)
    for _ in range(2):  # anew, and by what is kept
        found = searcher.search(queries, 7, 4, where=where)
        assert found.among == len(expected[0])
        for right, items, identities in zip(expected, found.items, found.identities, strict=True):
            assert [(one.distance, one.id) for one in items] == right[:7]
            first: dict[str | int, tuple[float, int]] = {}
            for one in right:
                first.setdefault(shown[one[1]], one)
            nearest = [one for one in list(first.values())[:4] if one[0] <= 1]
            assert [(one.distance, one.id) for one in identities][: len(nearest)] == nearest


@WAYS
@pytest.mark.parametrize("n_queries", [1, 9])
@pytest.mark.parametrize(
    "asked", ["rank<3", "rank<30", "rank<300", "rank<3000", "shelf=1", "label=7", "label="]
)
def test_what_is_found_is_what_brute_force_finds(
    full: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: str,
    n_queries: int,
    scanned: int,
) -> None:
    monkeypatch.setattr(proving, "SCANNED", scanned)
    assert_exact(Searcher(full, tmp_path / "index"), full, asked, n_queries)


@WAYS
def test_few_are_found_though_all_others_are_nearer(
    full: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scanned: int
) -> None:
    monkeypatch.setattr(proving, "SCANNED", scanned)
    query = unit(99, 1)
    farthest = [item_id for _, item_id in brute_force(full, query, ())[0][-3:]]
    with full.read() as tx:
        ranks = [item.metadata["rank"] for item in tx.items(ids=farthest)]
    where = conditions(f"rank={'|'.join(ranks)}")
    found = Searcher(full, tmp_path / "index").search(query, 5, where=where)
    assert [one.id for one in found.items[0]] == farthest


@WAYS
def test_writes_are_seen_at_once(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scanned: int
) -> None:
    monkeypatch.setattr(proving, "SCANNED", scanned)
    searcher = Searcher(store, tmp_path / "index")
    for asked in ("shelf=1", "label=7"):
        assert_exact(searcher, store, asked)
    with store.write() as tx:
        ids = tx.add_items(drawn(2, 30), unit(2, 30))
        tx.remove_items(ids[::4])
        tx.relabel_items(ids[1:9:4], "7")
        tx.update_item(ids[2], meta={"shelf": "1"})
        tx.replace_image(ids[1], drawn(3, 2)[1], unit(3, 2)[1])
    for asked in ("shelf=1", "label=7", "rank<3000"):
        assert_exact(searcher, store, asked)
        assert_exact(Searcher(store, tmp_path / "index"), store, asked)


def test_conditions_nobody_meets_find_nothing(store: Store, tmp_path: Path) -> None:
    found = Searcher(store, tmp_path / "index").search(unit(9, 2), 3, where=conditions("label=x"))
    assert (found.items, found.identities, found.among, found.count) == ([[], []], [[], []], 0, 60)


def test_a_field_nobody_has_is_refused_with_those_there_are(store: Store, tmp_path: Path) -> None:
    searcher = Searcher(store, tmp_path / "index")
    sentence = r"No item has a field 'shlef': there are label, path, rank, shelf\."
    for where in (conditions("shlef=1"), conditions(["shelf=1", "shlef!=1"])):
        with pytest.raises(GalleryError, match=sentence):
            searcher.search(unit(9, 1), 3, where=where)
    with store.write() as tx:
        tx.remove_items([item.id for item in tx.items()])
    assert searcher.search(unit(9, 1), 3, where=conditions("shlef=1")).items == [[]]


def test_the_store_is_asked_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filtering, "_KEPT", 2)
    filters = Filters()
    first, second, third = (conditions(f"label={n}") for n in (1, 2, 3))
    with store.read() as tx:
        assert filters.kept(tx.seq, first) is None
        known = filters.read(tx, first)
        filters.read(tx, second)
        assert filters.read(tx, first) is filters.kept(tx.seq, first) is known
        filters.read(tx, third)  # the one that was not asked for lately goes
        assert filters.kept(tx.seq, first) is known
        assert filters.kept(tx.seq, second) is None
        assert filters.kept(tx.seq + 1, first) is None


def test_many_threads_may_ask(full: Store, tmp_path: Path) -> None:
    searcher = Searcher(full, tmp_path / "index")
    asked = [conditions(f"shelf={n % 3}") for n in range(24)]
    query = unit(99, 1)
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda where: searcher.search(query, 3, where=where).items[0], asked)
        found = [[(one.distance, one.id) for one in answer] for answer in answers]
    assert found == [brute_force(full, query, where)[0][:3] for where in asked]


# Galleries


def tune(gallery: Gallery, rule: str, value: float = 1.0, items: int = 15) -> None:
    with gallery._store.write() as tx:
        tx.add_threshold(
            value,
            rule=rule,
            objective="fpir=0.05",
            source="gallery",
            details={"items": items},
            calibration={"scores": [0.5, 2.0], "p_values": [0.1, 0.2], "dirs": [0.5, 0.9]},
        )


def test_a_gallery_answers_among_some(gallery: Gallery, photos: Path) -> None:
    photo = photos / "red" / "0.png"
    answer = gallery.identify(photo, k=20, threshold=2, where="label=green|blue")
    assert {item.label for item in answer.items} == {"green", "blue"}
    assert (len(answer.items), answer.among, answer.where) == (10, 10, ("label=green|blue",))
    assert answer.label == answer.items[0].label
    both = ["label!=red", Condition("path", "~=", ("*/0.png",))]
    (many,) = gallery.identify_many([photo], k=20, threshold=2, where=both)
    assert sorted(Path(item.path).parent.name for item in many.items) == ["blue", "green"]
    assert many.where == ("label!=red", "path~=*/0.png")
    near = gallery.nearest(gallery.embed(photo)[np.newaxis], 20, where="label=green|blue")
    assert [item.id for item in near[0]] == [item.id for item in answer.items]
    whole = gallery.identify(photo)
    assert (whole.where, whole.among) == ((), None)


def test_a_gallery_lists_some(gallery: Gallery) -> None:
    reds = gallery.find(label="red")
    assert gallery.find(where="label=red") == reds
    assert gallery.find(where=["label=red", "path~=*/[01].png"]) == reds[:2]
    assert gallery.find(ids=reds[1:], where="path~=*/[01].png") == reds[1:2]
    red = gallery.items(ids=reds[:1])[0]
    assert gallery.items(path=red.path, where="label=red") == [red]
    assert gallery.items(path=red.path, where="label=blue") == []
    assert gallery.labels(where=["label!=red", "path~=*/[01].png"]) == {"blue": 2, "green": 2}
    for ask in (gallery.find, gallery.items, gallery.labels):
        with pytest.raises(GalleryError, match="No item has a field 'brand'"):
            ask(where="brand=Acme")


@pytest.mark.parametrize("threshold", [None, 2])
def test_where_nobody_is_left_it_is_unknown(
    gallery: Gallery, photos: Path, threshold: float | None
) -> None:
    photo = photos / "red" / "0.png"
    answer = gallery.identify(photo, threshold=threshold, where="label=teal")
    assert (answer.decision, answer.items, answer.among) == ("unknown", (), 0)
    assert answer.note == NOBODY


@pytest.mark.parametrize("rule", ["margin", "rivals", "ratio", "nac"])
def test_where_rivals_are_left_out_no_promise_is_made(
    gallery: Gallery, photos: Path, rule: str
) -> None:
    tune(gallery, rule, items=10)
    photo = photos / "red" / "0.png"
    answer = gallery.identify(photo, where="label=red")
    assert (answer.rule, answer.threshold, answer.p_value) == (rule, 1.0, None)
    assert answer.note == FILTERED.format(rule=rule)
    tune(gallery, rule, value=0.0)
    unknown = gallery.identify(photo, where="label=red")
    assert (unknown.decision, unknown.note, unknown.p_value) == ("unknown", None, None)
    given = gallery.identify(photo, rule=rule, threshold=0.5, where="label=red")
    assert (given.note, given.p_value) == (None, None)
    tune(gallery, rule, items=10)
    everyone = gallery.identify(photo, where="path~=*")
    assert everyone.note == OUTGROWN.format(then=10, now=15)
    assert everyone.p_value == gallery.identify(photo).p_value is not None


def test_the_nearest_distance_keeps_its_promise(gallery: Gallery, photos: Path) -> None:
    tune(gallery, "nearest")
    photo = photos / "red" / "0.png"
    whole, some = gallery.identify(photo), gallery.identify(photo, where="label=blue")
    assert (some.note, some.threshold) == (None, 1.0)
    assert some.score > whole.score
    assert some.p_value >= whole.p_value
    tune(gallery, "nearest", items=10)
    outgrown = gallery.identify(photo, where="label=blue")
    assert outgrown.note == OUTGROWN.format(then=10, now=15)  # the gallery, not what is left of it


def test_a_verifier_looks_at_some(trained_path: Path, hues: Path) -> None:
    photo = hues / "hue-0" / "0.png"
    with Gallery.open(trained_path) as gallery:
        answer = gallery.identify(photo, rule="verifier", k=3, where="label=hue-5|hue-6")
        assert {item.label for item in answer.items} <= {"hue-5", "hue-6"}
        assert answer.among == 8
        nobody = gallery.identify(photo, rule="verifier", where="label=x")
        assert (nobody.decision, nobody.note) == ("unknown", NOBODY)
