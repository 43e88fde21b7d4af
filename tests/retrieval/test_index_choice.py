"""Which index a gallery can have, wherever it is."""

from __future__ import annotations

import pytest

from retrieval.errors import GalleryError
from retrieval.index_choice import is_milvus, require_index

SERVERS = ["milvus://h:19530", "milvus://h:1/shop", "milvus+tls://h:1", "milvus://[::1]:19530"]


@pytest.mark.parametrize("name", ["auto", "exact", "ivf"])
def test_a_folder_has_index_files(name: str) -> None:
    require_index(name, is_shared=False)


@pytest.mark.parametrize("name", ["auto", "exact", "ivf", "hnsw", *SERVERS])
def test_a_database_is_searched_by_an_engine(name: str) -> None:
    require_index(name, is_shared=True)
    assert is_milvus(name) == (name in SERVERS)


@pytest.mark.parametrize(
    ("name", "is_shared", "why"),
    [
        ("hnsw", False, "No such|no index 'hnsw' for a gallery in a folder: say auto, exact, ivf"),
        ("milvus", True, "no index 'milvus' .* in a database: .*, or milvus://HOST:PORT"),
        (
            "pgvector",
            True,
            "no index 'pgvector' for a gallery in a database: say .*, ivf, hnsw, or",
        ),
        ("milvus://h:1", False, "copy"),
        ("milvus://h", True, "--index milvus://HOST:PORT"),
        ("milvus://h:none", True, "--index milvus://HOST:PORT"),
        ("milvus://user:secret@h:1", True, "into the environment"),
        ("milvus+ssl://h:1", True, "There is no index"),
    ],
)
def test_what_a_gallery_cannot_have_is_refused(name: str, is_shared: bool, why: str) -> None:
    with pytest.raises(GalleryError, match=why) as refused:
        require_index(name, is_shared=is_shared)
    assert "secret" not in str(refused.value)
