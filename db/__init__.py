"""The store: schema, transactions, change log, migrations. Knows nothing of images or indexes."""

from db.conditions import Condition
from db.copy_mark import COPY
from db.copying import Filler, compare, copy_rows
from db.errors import NotRestorable, StoreError
from db.filesystem import require_local
from db.glance import Glance
from db.place import is_url
from db.reader import Reader
from db.records import (
    Candidate,
    Failure,
    Generation,
    Item,
    NewItem,
    StoredEncoder,
    StoredVectors,
    Threshold,
    Watermark,
)
from db.rows import Rows
from db.sharing import Share
from db.store import Store
from db.texts import require_key, require_text
from db.writer import Writer

__all__ = [
    "COPY",
    "Candidate",
    "Condition",
    "Failure",
    "Filler",
    "Generation",
    "Glance",
    "Item",
    "NewItem",
    "NotRestorable",
    "Reader",
    "Rows",
    "Share",
    "Store",
    "StoreError",
    "StoredEncoder",
    "StoredVectors",
    "Threshold",
    "Watermark",
    "Writer",
    "compare",
    "copy_rows",
    "is_url",
    "require_key",
    "require_local",
    "require_text",
]
