"""Sharing the work of building a gallery, so that no two builders do the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Share(Protocol):
    """One builder's part of the work."""

    def claim(self, paths: Iterable[str]) -> set[str]:
        """Return those of some photos that no other living builder is at work on.

        They are this builder's until it releases them, ends or dies.
        """

    def release(self, paths: Iterable[str]) -> None:
        """Leave photos to others; those it has not claimed are passed over."""


class Alone:
    """The share of a builder that nobody else can be at work beside: everything is its own."""

    def claim(self, paths: Iterable[str]) -> set[str]:
        """Return all of them."""
        return set(paths)

    def release(self, paths: Iterable[str]) -> None:
        """Nothing was taken."""
