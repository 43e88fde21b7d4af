"""A store on PostgreSQL: what goes wrong is told, and nothing that was told as done is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from postgres_server import PostgresServer
from postgres_stores import add, create, cut, new_item, paths, vectors
from psycopg import sql

from db import Store, StoreError
from db.place import is_url


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    made = create(postgres_url)
    yield made
    made.close()


# What is refused


def refusal(url: str) -> str:
    with pytest.raises(StoreError) as refused:
        Store.open(url)
    assert "secret" not in str(refused.value)
    assert str(refused.value).count("\n") == 0
    return str(refused.value)


def test_what_is_no_gallery_is_told(postgres_server: PostgresServer, postgres_url: str) -> None:
    assert "is no lookalike store" in refusal(postgres_url)
    port, start = postgres_server.port, "postgresql://lookalike:secret@127.0.0.1"
    assert "There is no database" in refusal(f"{start}:{port}/absent")
    assert "createdb" in refusal(f"{start}:{port}/absent?password=secret")
    assert "can't be reached" in refusal(f"{start}:1/gallery")
    nobody = f"postgresql://nobody:secret@127.0.0.1:{port}/postgres"
    assert "check the user and the password" in refusal(nobody)
    assert "can't be read" in refusal("postgresql://me:secret/@host:port/gallery")


def test_what_is_in_the_way_is_told(store: Store, postgres_server: PostgresServer) -> None:
    url = postgres_server.new_database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE items (x int)")
    with pytest.raises(StoreError, match="has a table items that is not lookalike's"):
        create(url)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM items").fetchone() == (0,)
        assert connection.execute("SELECT to_regclass('vectors')").fetchone() == (None,)


def test_a_user_who_may_do_little_is_told(postgres_server: PostgresServer) -> None:
    url = postgres_server.new_database()
    role = f"guest_{url.rpartition('_')[2]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
    theirs = url.replace("lookalike@", f"{role}@")
    with pytest.raises(StoreError, match="let an administrator run `CREATE EXTENSION vector`"):
        create(theirs)
    create(url).close()
    with pytest.raises(StoreError, match="does not let this user do that"):
        Store.open(theirs)


def test_a_server_that_stops_is_told(own_server: PostgresServer) -> None:
    store = create(own_server.new_database())
    add(store, "a")
    with store.glance() as glance:
        assert glance.seq == 1
    own_server.kill()
    for ask in (store.read, store.glance, store.write, store.sharing):
        with pytest.raises(StoreError, match=r"can't be reached|broke"), ask():
            pass
    own_server.start()
    # What broke while nobody used it is nobody's concern.
    with store.glance() as glance:
        assert glance.seq == 1
    add(store, "b")
    assert paths(store) == ["a", "b"]
    store.close()


def test_a_connection_cut_in_a_write_leaves_nothing(store: Store, postgres_url: str) -> None:
    add(store, "a")
    for more in (1, 20):
        broke = r"broke .* nothing of what was under way is kept"
        with pytest.raises(StoreError, match=broke), store.write() as tx:
            tx.add_items([new_item("b")], vectors(1))
            cut(postgres_url)
            tx.add_items([new_item(f"/{n}") for n in range(more)], vectors(more))
    broke = "as a write ended: it is wholly there or wholly absent"
    with pytest.raises(StoreError, match=broke), store.write() as tx:
        tx.add_items([new_item("d")], vectors(1))
        cut(postgres_url)
    with pytest.raises(StoreError, match="broke"), store.read() as tx:
        cut(postgres_url)
        tx.count_items()
    with pytest.raises(StoreError, match="broke"), store.glance() as glance:
        cut(postgres_url)
        glance.identities([1])
    assert paths(store) == ["a"]
    with store.read() as tx:
        assert tx.seq == 1


def test_a_pgvector_that_is_too_old_is_refused(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
    with pytest.raises(StoreError, match=r"pgvector older than 0\.8"):
        Store.create(postgres_url, fingerprint="f", encoder_name="e", dim=2, settings={})
    with psycopg.connect(postgres_url) as connection:
        connection.execute("UPDATE pg_extension SET extversion = '0.10' WHERE extname = 'vector'")
    Store.create(postgres_url, fingerprint="f", encoder_name="e", dim=2, settings={}).close()


def test_text_that_cannot_be_kept_is_refused(store: Store) -> None:
    for hostile in (
        new_item("a\0b"),
        new_item("a", label="\0"),
        new_item("a", metadata={"k": "\0"}),
        new_item("a", metadata={"\0": "v"}),
    ):
        for count in (1, 20):
            items = [hostile, *(new_item(f"/{n}") for n in range(1, count))]
            with pytest.raises(StoreError, match="NUL"), store.write() as tx:
                tx.add_items(items, vectors(count))
    for unfit in ({"k": float("inf")}, {"k": "\ud800"}):
        with pytest.raises(StoreError, match="hold no infinite numbers"), store.write() as tx:
            tx.add_items([new_item("a", metadata=unfit)], vectors(1))
    assert paths(store) == []
    kept = {"k": "\\u0000 \\", "\\": '%s :x "', "😀": "ü"}
    with store.write() as tx:
        tx.add_items([new_item("%s", metadata=kept)], vectors(1))
    with store.read() as tx:
        (item,) = tx.items()
        assert item.metadata == kept
        assert tx.metadata_fields() == sorted(kept)


# What is kept


@pytest.mark.parametrize("count", [3, 300])
def test_many_items_come_back_in_their_order(store: Store, count: int) -> None:
    named = [
        new_item(
            f"/ü😀%s:x\\N\t{n}", label=None if n % 3 else f"'{n}", metadata={"z": n, "a": "\n"}
        )
        for n in range(count)
    ]
    with store.write() as tx:
        ids = tx.add_items(named, vectors(count))
    with store.read() as tx:
        found = list(tx.items())
        stored = np.concatenate([part.data for part in tx.vectors(chunk=7)])
    assert [item.id for item in found] == ids == sorted(ids)
    assert [(one.path, one.label, one.metadata) for one in found] == [
        (one.path, one.label, one.metadata) for one in named
    ]
    assert list(found[0].metadata) == ["z", "a"]
    np.testing.assert_array_equal(stored, vectors(count).astype(np.float16))


def test_vectors_longer_than_a_page_are_kept(postgres_url: str) -> None:
    store = Store.create(postgres_url, fingerprint="f", encoder_name="e", dim=6000, settings={})
    drawn = np.random.default_rng(0).standard_normal((3, 6000)).astype(np.float32)
    with store.write() as tx:
        tx.add_items([new_item(f"/{n}") for n in range(3)], drawn)
    with store.read() as tx, store.glance() as glance:
        (part,) = tx.vectors()
        found = glance.candidates(part.ids.tolist(), tx.encoder)
    np.testing.assert_array_equal(part.data, drawn.astype(np.float16))
    assert sorted(one.data for one in found) == sorted(one.tobytes() for one in part.data)
    store.close()


def test_ids_of_what_was_undone_are_not_given_out_again(store: Store) -> None:
    seen: list[int] = []
    for count in (2, 30):
        with pytest.raises(RuntimeError), store.write() as tx:
            seen += tx.add_items([new_item(f"/{n}") for n in range(count)], vectors(count))
            raise RuntimeError
    assert not set(seen) & set(add(store, *(f"/{n}" for n in range(30))))


def test_letters_are_compared_as_in_a_file_whatever_the_locale(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.new_database()
    name = f"unicode_{url.rpartition('_')[2]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            sql.SQL(
                "CREATE DATABASE {} TEMPLATE template0 "
                "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
            ).format(sql.Identifier(name))
        )
    store = create(url.rpartition("/")[0] + f"/{name}")
    labels = ["B", "a", "Ä", "b", "É", "Z"]
    with store.write() as tx:
        tx.add_items(
            [new_item(f"/{one}.jpg", label=one, metadata={"k": one}) for one in labels],
            vectors(len(labels)),
        )
    with store.read() as tx:
        assert list(tx.label_counts()) == sorted(labels)
        for text, label in (("É", ["É"]), ("é", []), ("z", ["Z"])):
            assert [item.label for item in tx.find_items(text=text)[0]] == label
        collations = tx.driver_connection.execute(
            "SELECT DISTINCT attcollation::regcollation::text FROM pg_attribute "
            "WHERE attrelid IN ('items'::regclass, 'failures'::regclass) AND attcollation <> 0"
        ).fetchall()
    assert collations == [('"C"',)]
    store.close()


def test_space_is_given_back(store: Store) -> None:
    ids = add(store, *(f"/{n}" for n in range(2000)))
    with store.write() as tx:
        tx.remove_items(ids)
        tx.purge_vectors(up_to=tx.seq)
    assert store.shrink(0.2) > 0
    assert store.damage() == []


def test_a_passwords_place_is_not_shown(postgres_url: str) -> None:
    store = create(postgres_url.replace("@", ":secret@") + "?sslpassword=secret")
    assert (store.place, store.is_shared) == (postgres_url, True)
    store.close()
    assert is_url(postgres_url)
    assert not is_url(Path("postgresql://"))
