"""What can go wrong with a store, as one-sentence exceptions."""

from __future__ import annotations


class StoreError(Exception):
    """The store can't be used as asked; the text says what, where and how to mend it."""


class NotRestorable(StoreError):  # noqa: N818 - what is so, in words for a user
    """A removed item that can't be had back; the text says why."""
