"""Photos of a build are divided among its builders: each is done by one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from db import Item, NewItem, Store
from retrieval import dividing
from retrieval.dividing import Division
from retrieval.sources import Source


@pytest.fixture
def stores(postgres_url: str) -> Iterator[list[Store]]:
    """The same store, opened by three builders."""
    opened = [Store.create(postgres_url, fingerprint="f", encoder_name="e", dim=2, settings={})]
    opened += [Store.open(postgres_url) for _ in range(2)]
    yield opened
    for one in opened:
        one.close()


def is_stored(_source: Source, _item: Item) -> bool:
    return True


def put(store: Store, sources: list[Source]) -> None:
    items = [
        NewItem(path=str(one.path), content_hash="c", width=1, height=1, file_size=1, mtime_ns=0)
        for one in sources
    ]
    with store.write() as tx:
        tx.add_items(items, np.tile(np.float32([1, 0]), (len(items), 1)))


def test_each_photo_is_done_once_and_all_are_done(
    stores: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dividing, "_CLAIMED", 4)
    monkeypatch.setattr(dividing, "_AGAIN_SECONDS", 0.01)
    sources = [Source(Path(f"/{number}.png")) for number in range(60)]
    done: list[list[Source]] = [[] for _ in stores]
    elsewhere = [0 for _ in stores]

    def build(number: int) -> None:
        with stores[number].sharing() as share:
            division = Division(stores[number], share, sources, is_stored)
            for mine in division.rounds():
                for source in mine:
                    done[number].append(source)
                    put(stores[number], [source])
                    division.release([source])
            elsewhere[number] = len(division.done_by_others)

    threads = [Thread(target=build, args=(number,)) for number in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    every = [source for some in done for source in some]
    assert sorted(str(one.path) for one in every) == sorted(str(one.path) for one in sources)
    assert [len(some) + others for some, others in zip(done, elsewhere, strict=True)] == [60] * 3


def test_what_a_dead_builder_had_claimed_is_done_by_another(
    stores: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dividing, "_AGAIN_SECONDS", 0.01)
    sources = [Source(Path(f"/{number}.png")) for number in range(5)]
    dying = stores[1].sharing()
    died = dying.__enter__().claim(["/0.png", "/1.png"])
    assert died == {"/0.png", "/1.png"}
    done = []
    with stores[0].sharing() as share:
        rounds = Division(stores[0], share, sources, is_stored).rounds()
        done += list(next(rounds))
        assert len(done) == 3
        dying.__exit__(None, None, None)
        for mine in rounds:
            done += list(mine)
    assert sorted(str(one.path) for one in done) == [f"/{number}.png" for number in range(5)]


def test_a_file_is_built_by_one_who_does_everything(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s", fingerprint="f", encoder_name="e", dim=2, settings={})
    sources = [Source(tmp_path / f"{number}.png") for number in range(200)]
    put(store, sources[:3])
    with store.sharing() as share:
        division = Division(store, share, sources, is_stored)
        assert [list(mine) for mine in division.rounds()] == [sources]
    assert division.done_by_others == []
    store.close()
