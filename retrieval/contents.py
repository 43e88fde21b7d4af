"""What a gallery holds: its items and their labels, looked at, changed and paired."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from db import Failure, Item, Store, Threshold
from retrieval.auditing import Audit, audit
from retrieval.building import Progress
from retrieval.by_hand import set_threshold
from retrieval.conditions import Where, conditions, require_fields
from retrieval.deduplicating import DedupeReport, find_duplicates, remove_duplicates
from retrieval.errors import GalleryError
from retrieval.evaluation.duplicates import DUPLICATES_BELOW
from retrieval.pairing import DrawnPairs, make_pairs_of_items
from retrieval.paths import any_path
from retrieval.sources import absolute


class Contents:
    """The part of a `Gallery` that needs neither its encoder nor its index."""

    def __init__(self, store: Store) -> None:
        """Look at what `store` holds."""
        self._store = store

    def find(
        self,
        *,
        ids: Sequence[int] | None = None,
        label: str | None = None,
        path: str | os.PathLike[str] | None = None,
        where: Where = None,
    ) -> list[int]:
        """Return the ids of the items that meet every condition given; see `items`."""
        return [item.id for item in self.items(ids=ids, label=label, path=path, where=where)]

    def items(
        self,
        *,
        ids: Sequence[int] | None = None,
        label: str | None = None,
        path: str | os.PathLike[str] | None = None,
        content_hash: str | None = None,
        where: Where = None,
    ) -> list[Item]:
        """Return the items that meet every condition given, in order of id.

        Args:
            ids: Only these.
            label: Only those that show it.
            path: Only the one read from there.
            content_hash: Only those with exactly these bytes, by their SHA-256 in hex.
            where: Only those that meet all of these conditions, e.g. `["brand=Acme", "price<3"]`;
                docs/filters.md explains how they are written.

        Raises:
            GalleryError: A condition is written wrongly, or of a field that no item has.
        """
        asked = conditions(where)
        with self._store.read() as tx:
            if path is None:
                found = list(tx.items(ids=ids, label=label, content_hash=content_hash, where=asked))
            else:
                paths = [str(absolute(any_path(path)))]
                there = tx.items(paths=paths, label=label, content_hash=content_hash, where=asked)
                found = [item for item in there if ids is None or item.id in ids]
            if not found:
                require_fields(tx, asked)
            return found

    def find_items(
        self,
        text: str = "",
        *,
        label: str | None = None,
        where: Where = None,
        after: int = 0,
        limit: int = 100,
    ) -> tuple[list[Item], int]:
        """Return one page of the items that hold a text, and how many there are in all.

        Args:
            text: Occurs in the label, the file's name or the metadata, whatever the case of ASCII
                letters; empty for all items.
            label: Only those that show it.
            where: Only those that meet all of these conditions; see `items`.
            after: Only those with a larger id: the last one's of the page before.
            limit: At most so many.

        Raises:
            GalleryError: A condition is written wrongly, or of a field that no item has.
        """
        asked = conditions(where)
        with self._store.read() as tx:
            found = tx.find_items(text=text, label=label, where=asked, after=after, limit=limit)
            if not found[1]:
                require_fields(tx, asked)
            return found

    def labels(self, *, where: Where = None) -> dict[str, int]:
        """Return how many items each label has, by label, of those that meet the conditions."""
        asked = conditions(where)
        with self._store.read() as tx:
            found = tx.label_counts(asked)
            if not found:
                require_fields(tx, asked)
            return found

    def counts(self) -> dict[str, Any]:
        """Return what can be said of the gallery at once: its size, its encoder, its writes.

        `items`, `labels`, `unlabelled`, `encoder` (its name), `dim`, and `seq`: how many writes
        there have been.
        """
        with self._store.read() as tx:
            items, by_label = tx.count_items(), tx.label_counts()
            return {
                "items": items,
                "labels": len(by_label),
                "unlabelled": items - sum(by_label.values()),
                "encoder": tx.encoder.name,
                "dim": tx.encoder.dim,
                "seq": tx.seq,
            }

    def count(self) -> int:
        """Return how many items there are."""
        with self._store.read() as tx:
            return tx.count_items()

    def seq(self) -> int:
        """Return how many writes there have been: as long as it is the same, so is all else."""
        with self._store.read() as tx:
            return tx.seq

    def failures(self) -> list[Failure]:
        """Return the files that could not become items, with the reason."""
        with self._store.read() as tx:
            return tx.failures()

    def remove(self, ids: Sequence[int]) -> int:
        """Remove items; return how many of `ids` there were. Photos on disk are not touched."""
        with self._store.write() as tx:
            return tx.remove_items(ids)

    def restore(self, item_id: int) -> Item:
        """Undo the removal of an item: it comes back as it was, nothing is encoded again.

        Raises:
            NotRestorable: It was not removed, its photo was added again, or the gallery has got
                another encoder since.
        """
        with self._store.write() as tx:
            return tx.restore_item(item_id)

    def relabel(self, ids: Sequence[int], label: str | None) -> int:
        """Give items another label, `None` for none; return how many there were."""
        with self._store.write() as tx:
            return tx.relabel_items(ids, label)

    def set_threshold(self, value: float, *, rule: str | None = None) -> Threshold:
        """Put a threshold given by hand in force; `tune_threshold` would find one.

        Args:
            value: τ.
            rule: The rule whose scores it cuts; `None` keeps the rule of the threshold in force,
                with its calibration, or takes `nearest` where there is none.

        Raises:
            GalleryError: There is no such rule, or τ is no finite number.
        """
        return set_threshold(self._store, value, rule)

    def make_pairs(
        self,
        out: str | os.PathLike[str],
        *,
        count: int = 7000,
        hard: float = 0.0,
        seed: int = 0,
        overwrite: bool = False,
    ) -> DrawnPairs:
        """Draw pairs of the gallery's labelled items, half of one label, and write them to a CSV.

        Args:
            out: The CSV to write, `path_a,path_b,label`. Photos below its folder are named
                relative to it, others absolutely.
            count: How many pairs, an even number.
            hard: The share of hard ones, in [0, 1]: items of different labels that are near, and
                items of one label that are far.
            seed: Equal seeds draw equal lists.
            overwrite: Replace `out` where it exists.

        Raises:
            LookalikeError: There are too few items or hard pairs, or `out` can't be written.
        """
        if not 0 <= hard <= 1:
            raise GalleryError(f"hard is {hard}: say a share from 0 to 1.")
        return make_pairs_of_items(
            self._store, Path(out), count=count, hard=hard, seed=seed, overwrite=overwrite
        )

    def audit(
        self,
        *,
        duplicates_below: float = DUPLICATES_BELOW,
        limit: int = 50,
        progress: Progress | None = None,
    ) -> Audit:
        """Find likely mislabelled items and near-duplicates across labels; see `auditing.audit`."""
        return audit(self._store, duplicates_below=duplicates_below, limit=limit, progress=progress)

    def dedupe(
        self,
        *,
        below: float = DUPLICATES_BELOW,
        within: str = "label",
        progress: Progress | None = None,
    ) -> DedupeReport:
        """Group near-duplicates, and say which item of each group to keep; nothing is changed.

        Nothing is chained through the threshold: each item is a near-duplicate of the very item
        that is kept for it, and no two kept ones are. See `deduplicating.find_duplicates`.

        Args:
            below: The distance, in [0, 2], below which two items are near-duplicates. Files that
                were the same byte by byte always are.
            within: `label` compares items of one label, and those without one with each other;
                `any` compares all.
            progress: Told how many items of how many are compared.

        Raises:
            GalleryError: `below` or `within` is out of range.
        """
        return find_duplicates(self._store, below=below, within=within, progress=progress)

    def remove_duplicates(self, report: DedupeReport) -> DedupeReport:
        """Remove what `dedupe` found, all but the item kept of each group, in one transaction.

        What was changed since stays, and so do the near-duplicates of a kept item that was changed
        or removed. Photos on disk are not touched.

        Returns:
            The report, with how many items were removed.
        """
        return remove_duplicates(self._store, report)
