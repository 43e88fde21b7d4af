"""A gallery in PostgreSQL: the same commands, from several machines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest
from PIL import Image

from db import Store
from retrieval import Gallery
from retrieval.errors import GalleryError
from retrieval.in_database import table_of
from retrieval.in_milvus import watermark_name
from retrieval.place import HOME, homes


@pytest.fixture
def shared(postgres_url: str, photos: Path, tiny_encoder: Path) -> str:
    """The URL of a gallery built from `photos`."""
    with Gallery.create(postgres_url, encoder=str(tiny_encoder)) as made:
        assert made.build(photos).added == 15
    return postgres_url


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """Go on on another machine: one that has no files of the gallery."""
    return lambda: monkeypatch.setenv(HOME, str(tmp_path / "elsewhere"))


def test_another_machine_answers_the_same(
    shared: str, photos: Path, elsewhere: Callable[[], None]
) -> None:
    photo = photos / "red" / "1.png"
    with Gallery.open(shared) as gallery:
        assert (gallery.name, gallery.path.parent) == (shared, homes())
        answer = gallery.identify(photo, threshold=0.1)
        assert (answer.decision, answer.label) == ("match", "red")
    elsewhere()
    with Gallery.open(shared) as gallery:
        assert gallery.identify(photo, threshold=0.1) == answer
        assert gallery.check().clean
        assert gallery.info().path == shared
        assert gallery.build(photos).unchanged == 15


def test_a_reembed_reaches_other_machines(
    shared: str, photos: Path, second_encoder: Path, elsewhere: Callable[[], None]
) -> None:
    photo = photos / "green" / "2.png"
    here = Gallery.open(shared)
    before = here.identify(photo).items
    first_home = here.path
    elsewhere()
    with Gallery.open(shared) as there:
        assert there.reembed(str(second_encoder)).switched
        after = there.identify(photo).items
        assert after != before
        assert there.path != first_home
    # It was open all the while, and fetches what it lacks.
    assert here.identify(photo).items == after
    assert here.check().clean
    here.close()


def test_a_verifier_reaches_other_machines(
    postgres_url: str, hues: Path, tiny_encoder: Path, elsewhere: Callable[[], None]
) -> None:
    pair = (hues / "hue-1" / "1.png", hues / "hue-1" / "2.png")
    with Gallery.create(postgres_url, encoder=str(tiny_encoder)) as gallery:
        gallery.build(hues)
        trained = gallery.train_verifier(count=140, model="linear")
        learnt = gallery.verify(*pair, by="classifier")
    elsewhere()
    with Gallery.open(postgres_url) as gallery:
        assert gallery.info().verifier == trained
        assert gallery.verify(*pair, by="classifier") == learnt


def test_the_databases_index_is_made_when_it_is_due_and_goes_with_its_encoder(
    shared: str, second_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from indexes.pgvector_building import kind_of

    def made() -> list[str | None]:
        with gallery._store.read() as tx:
            encoders = sorted([tx.encoder, *tx.other_encoders()], key=lambda one: one.id)
        with psycopg.connect(shared, autocommit=True) as connection:
            return [kind_of(connection, table_of(one)) for one in encoders]

    with Gallery.open(shared) as gallery:
        assert made() == [None]  # so few are compared as quickly
        assert gallery.info().index.kind == "exact"
        for kind in ("ivf", "hnsw"):
            gallery.choose_index(kind)
            assert gallery.compact().generation
            assert not gallery.compact().generation
            assert made() == [kind]
            assert gallery.info().index.kind == kind
        gallery.reembed(str(second_encoder))
        assert made() == [None, "hnsw"]
        gallery.choose_index("exact")
        gallery.compact()
        assert made() == [None, None]
        monkeypatch.setattr("retrieval.in_database._APPROXIMATE_FROM", 1)
        gallery.choose_index("auto")
        gallery.compact()
        assert made() == [None, "ivf"]


@pytest.mark.parametrize("index", ["auto", "exact", "ivf", "hnsw"])
def test_a_write_that_changes_no_index_makes_no_connection_for_it(
    shared: str, photos: Path, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lent(_store: Store) -> NoReturn:
        raise AssertionError("a connection was made")

    with Gallery.open(shared) as gallery:
        gallery.choose_index(index)
        gallery.compact()
        gallery.remove(gallery.find(path=photos / "red" / "1.png"))
        monkeypatch.setattr(Store, "lent", lent)
        assert gallery.add([photos / "red" / "1.png"]).added == 1


def test_removed_items_are_purged_by_a_compaction_and_restored_before(
    shared: str, photos: Path
) -> None:
    with Gallery.open(shared) as gallery:
        one, two = gallery.find(label="red")[:2]
        gallery.remove([one, two])
        assert gallery.restore(one).id == one
        assert gallery.compact().purged == 2  # what went of the first, and the second
        with pytest.raises(Exception, match="no removed item"):
            gallery.restore(two)
        assert gallery.identify(photos / "red" / "0.png", threshold=0.1).label == "red"


def test_a_server_that_follows_no_more_holds_nothing_back(shared: str) -> None:
    with Gallery.open(shared) as gallery:
        with gallery._store.read() as tx:
            name = watermark_name(tx.uid, tx.encoder)
        # As a Milvus server has left it that was followed up to the first write.
        gallery._store.set_watermark(name, 1, {"removed": 1, "changes": 0, "items": 0})
        gallery.remove(gallery.find(label="red"))
        gallery.choose_index("exact")
        assert gallery.compact().purged == 5
        with gallery._store.read() as tx:
            assert tx.watermark(name) is None


def test_uploads_stay_on_the_machine_that_took_them(
    shared: str, draw_photo: Callable[..., Image.Image], elsewhere: Callable[[], None]
) -> None:
    with Gallery.open(shared) as gallery:
        kept = gallery.folder_of_kept()
        assert kept == gallery.path.resolve() / "uploads"
        draw_photo("red", 8).save(kept / "8.png")
        (added,) = gallery.add([kept / "8.png"]).item_ids
    elsewhere()
    with Gallery.open(shared) as gallery:
        gallery.folder_of_kept()
        assert gallery.items(ids=[added])[0].path == str(kept / "8.png")


def test_what_is_in_the_way_is_said(shared: str, tiny_encoder: Path) -> None:
    with pytest.raises(Exception, match="holds a gallery already"):
        Gallery.create(shared, encoder=str(tiny_encoder))
    assert not list(homes().glob(".being-made-*"))
    with Gallery.open(shared) as gallery, pytest.raises(GalleryError, match="no index 'pgvector'"):
        gallery.choose_index("pgvector")


def test_a_gallery_that_could_not_be_made_leaves_an_empty_database(
    postgres_url: str, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retrieval import folder

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(folder, "put_first", fail)
        with pytest.raises(GalleryError, match=r"can't be made \(No space left"):
            Gallery.create(postgres_url, encoder=str(tiny_encoder))
    with Gallery.create(postgres_url, encoder=str(tiny_encoder)) as gallery:
        assert gallery.count() == 0
