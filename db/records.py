"""What the store takes and gives: frozen records, free of SQLAlchemy."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class StoredEncoder:
    """The encoder a gallery belongs to.

    Attributes:
        id: The store's number for it.
        fingerprint: SHA-256 over weights, architecture and preprocessing, in hex.
        name: What the user called it.
        dim: Length of its vectors.
    """

    id: int
    fingerprint: str
    name: str
    dim: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NewItem:
    """An item about to be stored.

    Attributes:
        path: Where the image was read.
        content_hash: SHA-256 of the file's bytes, in hex.
        width: Width in pixels, upright.
        height: Height in pixels, upright.
        file_size: Bytes.
        mtime_ns: The file's modification time, in nanoseconds since 1970.
        label: The identity shown; `None` makes the item an identity of its own.
        source_label: What the label source said, if one did.
        metadata: Anything JSON can hold.
    """

    path: str
    content_hash: str
    width: int
    height: int
    file_size: int
    mtime_ns: int
    label: str | None = None
    source_label: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Item(NewItem):
    """A stored item.

    Attributes:
        id: Its number, never reused.
        added_at: When it was stored, UTC without zone.
    """

    id: int
    added_at: datetime


@dataclass(frozen=True)
class StoredVectors:
    """Vectors by id, as stored.

    Attributes:
        ids: int64, shape `(n,)`, vector ids (not item ids).
        item_ids: int64, shape `(n,)`.
        data: float16, shape `(n, dim)`.
    """

    ids: NDArray[np.int64]
    item_ids: NDArray[np.int64]
    data: NDArray[np.float16]


class Candidate(NamedTuple):
    """A vector that may be among the nearest, and what the item it belongs to shows.

    Attributes:
        vector_id: Its number.
        item_id: The item's number.
        data: float16, little-endian, as stored.
        label: The item's label.
        path: Where the item's image was read.
        metadata: The item's metadata as JSON: of most candidates it is never looked at.
    """

    vector_id: int
    item_id: int
    data: bytes
    label: str | None
    path: str
    metadata: str


@dataclass(frozen=True)
class Threshold:
    """A stored threshold τ: a query matches iff its score is below `value`.

    Attributes:
        value: τ.
        rule: The name of the rule that makes the score.
        objective: What it was tuned for, e.g. `fpir=0.05`.
        source: What it was tuned on, e.g. `gallery`.
        encoder_fingerprint: The encoder whose distances it speaks of.
        details: Measured rates, counts, gallery size.
        calibration: The scores it was tuned on, in brief, and what they tell.
        created_at: When it was tuned, UTC without zone.
    """

    value: float
    rule: str
    objective: str
    source: str
    encoder_fingerprint: str
    details: dict[str, Any]
    calibration: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class Failure:
    """A file that could not become an item.

    Attributes:
        path: The file.
        reason: Why, in one line.
        failed_at: When it was last tried, UTC without zone.
    """

    path: str
    reason: str
    failed_at: datetime


@dataclass(frozen=True)
class Generation:
    """A recorded index file.

    Attributes:
        id: Its number.
        kind: The index kind that can read it.
        file_name: Its name inside the gallery's `index/` folder.
        sha256: Checksum of the whole file, in hex.
        seq: The sequence number of the snapshot it was built from.
        count: How many vectors it holds.
        changes: How many vectors had come or gone by then, ever.
        encoder_fingerprint: The encoder whose vectors it holds.
        created_at: When it was recorded, UTC without zone.
    """

    id: int
    kind: str
    file_name: str
    sha256: str
    seq: int
    count: int
    changes: int
    encoder_fingerprint: str
    created_at: datetime


@dataclass(frozen=True)
class Watermark:
    """How far something outside has followed the change log.

    Attributes:
        name: What has followed it.
        seq: The sequence number up to which it has.
        details: What it noted besides.
    """

    name: str
    seq: int
    details: dict[str, Any]
