"""How a collection on a Milvus server follows a gallery's store."""

from __future__ import annotations

from pathlib import Path

from milvus_server import MilvusProcess

from indexes.pgvector_building import is_there
from retrieval import Gallery
from retrieval.in_database import table_of
from retrieval.in_milvus import watermark_name


def test_a_write_without_vectors_leaves_what_searches_wait_for(
    milvus_server: MilvusProcess, postgres_url: str, photos: Path, tiny_encoder: Path
) -> None:
    def acknowledged(gallery: Gallery) -> int:
        with gallery._store.read() as tx:
            mark = tx.watermark(watermark_name(tx.uid, tx.encoder))
            assert mark is not None
            assert mark.seq == tx.seq
            return int(mark.details["acknowledged"])

    photo = photos / "red" / "1.png"
    with Gallery.create(postgres_url, encoder=str(tiny_encoder)) as gallery:
        gallery.choose_index(milvus_server.uri.replace("http", "milvus", 1))
        gallery.build(photos)
        gallery.identify(photo)
        before = acknowledged(gallery)
    assert before > 0
    with Gallery.open(postgres_url) as gallery:
        gallery.set_threshold(0.1, rule="nearest")
        assert gallery.identify(photo).label == "red"
        # 0 would make each search wait until the server has everything that came before it.
        assert acknowledged(gallery) >= before


def test_the_databases_index_goes_once_the_server_has_the_vectors(
    milvus_server: MilvusProcess, postgres_url: str, photos: Path, tiny_encoder: Path
) -> None:
    def prepared(gallery: Gallery) -> bool:
        with gallery._store.read() as tx:
            table = table_of(tx.encoder)
        with gallery._store.lent() as connection:
            return is_there(connection, table)

    with Gallery.create(postgres_url, encoder=str(tiny_encoder)) as gallery:
        gallery.choose_index("ivf")
        gallery.build(photos)
        assert prepared(gallery)
        gallery.choose_index(milvus_server.uri.replace("http", "milvus", 1))
        gallery.compact()
        assert not prepared(gallery)
        assert gallery.identify(photos / "red" / "1.png", threshold=0.1).label == "red"
