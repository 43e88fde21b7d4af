"""Which index a gallery has: what can be asked for, and what is done for it after writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from db import Reader, Store
from indexes import EngineError
from indexes.pgvector_building import HNSW, IVF
from retrieval import generations
from retrieval.errors import GalleryError
from retrieval.in_database import (
    DatabaseProposer,
    clear_database,
    kind_in_database,
    prepare_database,
)
from retrieval.in_milvus import MILVUS, MilvusProposer, drop_others, purgeable, watermark_name
from retrieval.proposing import FileProposer, Proposer

AUTO, EXACT = "auto", "exact"
WHEN_DOWN = "when_down"
"""What the settings call what to do when an engine is down: `fail`, or `exact`."""
_MILVUS_SCHEMES = (MILVUS, f"{MILVUS}+tls")


@dataclass(frozen=True)
class IndexInfo:
    """What kind of index a gallery has.

    Attributes:
        asked: What the user asked for: `auto`, `exact`, `ivf`, `hnsw`, or a Milvus server.
        kind: The kind of its newest index file, of what the database has, or `milvus`; `None` in a
            folder without any.
        items: How many items that holds.
        changes: How many vectors came or went since; they are searched beside it.
    """

    asked: str
    kind: str | None
    items: int
    changes: int


def require_index(name: str, *, is_shared: bool) -> None:
    """Make sure that a gallery can have the index a user asks for.

    Raises:
        GalleryError: There is none of that name, or not for a gallery in such a place.
    """
    if is_milvus(name):
        if not is_shared:
            raise GalleryError(
                "A Milvus server follows a gallery in PostgreSQL, where many machines find it: "
                "leave --index out, or move the gallery there with `lookalike copy`."
            )
        try:
            parts = urlsplit(name)
            named = bool(parts.hostname and parts.port) and parts.username is None
        except ValueError:
            named = False
        if not named:
            raise GalleryError(
                "No Milvus server is named so: say --index milvus://HOST:PORT[/DATABASE]; its "
                "token, if it wants one, goes into the environment."
            )
        return
    possible = (AUTO, EXACT, IVF, HNSW) if is_shared else (AUTO, *generations.INDEX_KINDS)
    if name not in possible:
        also = ", or milvus://HOST:PORT" if is_shared else ""
        where = "in a database" if is_shared else "in a folder"
        raise GalleryError(
            f"There is no index {name!r} for a gallery {where}: say {', '.join(possible)}{also}."
        )


def is_milvus(asked: str) -> bool:
    """Whether an index asked for is a Milvus server."""
    return asked.partition("://")[0] in _MILVUS_SCHEMES and "://" in asked


def open_proposer(store: Store, tx: Reader, folder: Path, *, without_engine: bool) -> Proposer:
    """Open what proposes candidates from a gallery.

    Args:
        store: Its store.
        tx: The snapshot it is opened for; nothing is brought up to date yet.
        folder: Where index files are, if it has some.
        without_engine: Compare all vectors, in the database, instead of asking a Milvus server.
    """
    asked = generations.asked(tx)
    if not store.is_shared:
        return FileProposer(tx, folder, asked)
    if is_milvus(asked) and not without_engine:
        return MilvusProposer(store, asked, tx.uid, tx.encoder)
    return DatabaseProposer(asked, tx.encoder, exact=asked == EXACT or without_engine)


def settle_index(
    store: Store, folder: Path, fingerprint: str, *, stale_share: float = generations.STALE_SHARE
) -> bool:
    """Do for the index what is due after writes: a new file, the database's index, a replay.

    Args:
        store: The gallery's store.
        folder: Where index files are, if it has some.
        fingerprint: Its encoder; nothing is done for a gallery that has another one.
        stale_share: How much must have changed for a new file; 0: anything.

    Returns:
        Whether a new index was made.

    Raises:
        OSError: A file can't be written.
        EngineError: The engine can't be used.
    """
    if not store.is_shared:
        return generations.write_generation(store, folder, fingerprint, stale_share=stale_share)
    with store.read() as tx:
        asked = generations.asked(tx)
        if tx.encoder.fingerprint != fingerprint:
            return False
        name = watermark_name(tx.uid, tx.encoder)
        followed = tx.watermark(name) is not None
        proposer = MilvusProposer(store, asked, tx.uid, tx.encoder) if is_milvus(asked) else None
    if proposer is None and followed:
        store.drop_watermark(name)  # nobody follows any more: to come back is to begin anew
    if asked == EXACT:
        clear_database(store)
        return False
    if proposer is None:
        return prepare_database(store, fingerprint, asked)
    try:
        with store.read() as tx:
            if stale_share == 0 and proposer.lacks(tx):
                store.drop_watermark(name)
        filled = proposer.replay()
        drop_others(store, asked)
    finally:
        proposer.close()
    clear_database(store)
    return filled


def describe_index(tx: Reader, *, is_shared: bool) -> IndexInfo:
    """Say what kind of index a gallery has, by what the store knows of it."""
    asked = generations.asked(tx)
    if not is_shared:
        newest = next(iter(generations.usable(tx)), None)
        held, known = (newest.count, newest.changes) if newest else (0, 0)
        kind = newest.kind if newest else None
        return IndexInfo(asked, kind, held, tx.change_count - known)
    if not is_milvus(asked):
        made = None if asked == EXACT else kind_in_database(tx)
        return IndexInfo(asked, made or EXACT, tx.count_items(), 0)
    mark = tx.watermark(watermark_name(tx.uid, tx.encoder))
    known = mark.details["changes"] if mark else 0
    return IndexInfo(asked, MILVUS, mark.details["items"] if mark else 0, tx.change_count - known)


def purgeable_seq(tx: Reader, *, is_shared: bool) -> int | None:
    """Return up to which sequence number nobody needs to know what went; `None` for nothing."""
    if is_shared:
        return purgeable(tx) if is_milvus(generations.asked(tx)) else tx.seq
    newest = next(iter(generations.usable(tx)), None)
    return newest.seq if newest else None


def check_engine(store: Store, tx: Reader, problems: list[str], notes: list[str]) -> None:
    """See whether the engine that searches a shared gallery has what the store has.

    Args:
        store: The gallery's store.
        tx: A snapshot of it.
        problems: What is wrong is added here, with how to mend it.
        notes: What harms no answer is added here.
    """
    asked = generations.asked(tx)
    if not is_milvus(asked):
        return
    proposer = MilvusProposer(store, asked, tx.uid, tx.encoder)
    try:
        missing = proposer.lacks(tx)
    except EngineError as error:
        problems.append(str(error))
        return
    finally:
        proposer.close()
    if missing is None:
        notes.append(
            f"{asked} has no collection of this gallery, or not the one it had; the next query or "
            "write fills it from the store."
        )
    elif missing:
        problems.append(
            f"{asked} lacks {missing:,} of the gallery's vectors: `lookalike compact` fills it "
            "anew."
        )
