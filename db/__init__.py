"""The store: schema, transactions, change log, migrations. Knows nothing of images or indexes."""

from db.errors import StoreError
from db.reader import Reader
from db.records import (
    Failure,
    Generation,
    Item,
    NewItem,
    StoredEncoder,
    StoredVectors,
    Threshold,
)
from db.store import Store
from db.writer import Writer

__all__ = [
    "Failure",
    "Generation",
    "Item",
    "NewItem",
    "Reader",
    "Store",
    "StoreError",
    "StoredEncoder",
    "StoredVectors",
    "Threshold",
    "Writer",
]
