"""The part of a `Gallery` that holds an encoder, and lets it go when the gallery gets another.

Artifact, running encoder and index belong together and are replaced together: what is embedded with
one encoder is searched in its index alone, which refuses once the store belongs to another.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from db import Store
from indexes import EngineError
from retrieval.belonging import require_encoder
from retrieval.building import Progress
from retrieval.clustering import Clustering, cluster_items, cluster_photos
from retrieval.compacting import CompactReport, compact
from retrieval.contents import Contents
from retrieval.encoder_comparison import EncoderComparison, compare_encoders
from retrieval.encoder_folders import load_artifact
from retrieval.encoders import Artifact, Encoder, open_encoder
from retrieval.errors import EncoderChanged, EncoderError, GalleryError
from retrieval.folder import INDEX, is_encoder
from retrieval.generations import STALE_SHARE
from retrieval.home import Home
from retrieval.index_choice import EXACT, WHEN_DOWN, require_index, settle_index
from retrieval.kept_photos import drop_unused_kept, folder_of_kept
from retrieval.paths import any_path
from retrieval.place import Place
from retrieval.reembedding import ReembedReport, reembed
from retrieval.searching import Searcher

if TYPE_CHECKING:
    from retrieval.copying import CopyReport

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Opened:
    """An encoder of a gallery with its index.

    Attributes:
        artifact: What is on disk of the encoder.
        searcher: Answers for this encoder only.
    """

    def __init__(self, home: Home, store: Store, artifact: Artifact, device: str) -> None:
        """Start nothing yet: the encoder starts at first use."""
        self.artifact = artifact
        self.searcher = Searcher(store, home.path / INDEX, artifact.spec.fingerprint)
        self._store = store
        self._device = device

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder, started at first use.

        Raises:
            EncoderChanged: The gallery has got another one, and perhaps another precision.
        """
        with self._store.read() as tx:
            require_encoder(tx, self.artifact.spec.fingerprint)
            precision = tx.settings()["precision"]
        return open_encoder(self.artifact, precision=precision, device=self._device)

    def close(self) -> None:
        """Let the encoder and the index go."""
        if "encoder" in self.__dict__:
            self.encoder.close()
        self.searcher.close()


class WithEncoder(Contents):
    """A gallery's contents with the encoder they belong to.

    Attributes:
        name: What to call the gallery: its folder, or its database's URL without a password.
        path: The folder of its files on this machine: the gallery itself, unless that is in a
            database.
    """

    def __init__(self, home: Home, store: Store, artifact: Artifact, device: str) -> None:
        """Use `Gallery.create` or `Gallery.open`."""
        super().__init__(store)
        self.name = home.name
        self.path = home.path
        self._home = home
        self._device = device
        self._opened = Opened(home, store, artifact, device)
        self._reopening = Lock()

    def close(self) -> None:
        """Close the store and let the encoder and the index go."""
        self._opened.close()
        self._store.close()

    @property
    def encoder(self) -> Encoder:
        """The encoder the gallery belongs to now, started at first use."""
        return self._latest().encoder

    def folder_of_kept(self) -> Path:
        """Return the folder for photos that have no place of their own, made if need be."""
        return folder_of_kept(self._store, self._home)

    def require_encoder(self, encoder: str, weights: str | os.PathLike[str] | None = None) -> None:
        """Make sure that `encoder` is this gallery's encoder.

        Raises:
            GalleryError: It is another one.
        """
        mine = self._opened.artifact
        if not is_encoder(mine, encoder, Path(weights) if weights else None):
            raise GalleryError(
                f"{self.name} belongs to the encoder {mine.spec.name}, not to {encoder}, and their "
                "distances don't compare: leave --encoder out, build another gallery, or give this "
                "one that encoder with `lookalike reembed`."
            )

    def require_precision(self, precision: str) -> None:
        """Make sure that this gallery computes in `precision`, or raise a GalleryError."""
        with self._store.read() as tx:
            mine = tx.settings()["precision"]
        if mine != precision:
            raise GalleryError(
                f"{self.name} was made with --precision {mine}, not {precision}: leave it out, or "
                "build another gallery."
            )

    def reembed(
        self,
        encoder: str,
        *,
        weights: str | os.PathLike[str] | None = None,
        precision: str | None = None,
        drop_missing: bool = False,
        progress: Progress | None = None,
    ) -> ReembedReport:
        """Give the gallery another encoder; broken off, the same call goes on where it was.

        All items are embedded anew from their photos, beside the old vectors; once all are done,
        encoder, vectors, precision and threshold are switched in one transaction. Until then, this
        and other processes may query, add and remove as ever. A threshold is tuned as `build` does,
        unless the encoder brings one.

        Args:
            encoder: A packaged encoder, `timm:NAME`, or an artifact's folder; `current` drops what
                a broken-off call with another encoder has made.
            weights: A local checkpoint for a timm model.
            precision: `auto`, `float32`, `bfloat16` or `int8`; `None` keeps the gallery's.
            drop_missing: Remove the items whose photo is missing, has changed or can't be read, in
                the transaction that switches; they become failures.
            progress: Told how many photos of how many are done.

        Raises:
            GalleryError: Photos are missing or have changed, or another reembed took over.
            EncoderError: The encoder can't be had, or can't compute as asked.
        """
        report = reembed(
            self._store,
            self._home,
            encoder=encoder,
            weights=Path(weights) if weights else None,
            precision=precision,
            device=self._device,
            drop_missing=drop_missing,
            progress=progress,
        )
        self._settle_index()
        return report

    def compact(self) -> CompactReport:
        """Write a new index file if anything has changed, and purge what has gone from the store.

        Removed items can't be restored after it, and their photos, where they were uploads, go too.
        Others may query, add and remove meanwhile. Raises a StoreError, or an OSError, where the
        disk is full or can't be written.
        """
        opened = self._latest()
        report = compact(self._store, self.path / INDEX, opened.artifact.spec.fingerprint)
        opened.searcher.renew()
        drop_unused_kept(self._store, self._home)
        return report

    def choose_index(self, name: str | None = None, *, when_down: str | None = None) -> None:
        """Say how the gallery is to be searched from now on; `None` leaves things as they are.

        Args:
            name: `auto`, by the number of items, `exact`, or `ivf`, which is approximate. In a
                database, also `hnsw`, for a great many items, or
                `milvus://HOST:PORT[/DATABASE]` (`milvus+tls://…`), a server that follows it.
            when_down: What to do when that server does not answer: `fail`, or `exact`, which
                compares all vectors.

        Raises:
            GalleryError: There is no such index.
        """
        if name is not None:
            require_index(name, is_shared=self._store.is_shared)
        if when_down not in (None, "fail", EXACT):
            raise GalleryError(f"when_down is {when_down!r}: say fail or exact.")
        chosen = {"index": name, WHEN_DOWN: when_down}
        with self._store.write() as tx:
            kept = {key: value for key, value in chosen.items() if value is not None}
            tx.set_settings(tx.settings() | kept)

    def copy(
        self,
        to: str | os.PathLike[str] | Place,
        *,
        index: str | None = None,
        progress: Progress | None = None,
    ) -> CopyReport:
        """Copy the gallery to another place; broken off, the same call goes on where it was.

        All goes along: items under their ids, removed ones too, vectors, thresholds, encoder and
        verifier. It is read in one moment, and may be used meanwhile. The copy can't be opened
        before both are compared, row by row.

        Args:
            to: A folder that is missing or empty, or the URL of an empty PostgreSQL database.
            index: What the copy is searched by, as for `choose_index`; `None`: what this gallery
                is, where the new place can have it.
            progress: Told how many rows of how many are copied or compared.

        Raises:
            GalleryError: Something is in the way, or there can't be such an index.
            StoreError: A database can't be used, or the two were not found equal.
            EngineError: The Milvus server can't be used; the same call then makes up for it.
        """
        from retrieval.copying import copy_gallery

        return copy_gallery(self._store, self._home, Place.of(to), index=index, progress=progress)

    def compare(
        self,
        encoders: Sequence[str],
        *,
        queries: str | os.PathLike[str] | None = None,
        limit: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> EncoderComparison:
        """Measure what other encoders would make of this gallery; nothing is written into it.

        Args:
            encoders: Packaged encoders, `timm:NAME`, or artifacts' folders, which embed the items
                anew from their photos, in precision `auto`; `current` or the gallery's own
                fingerprint takes the stored vectors. Changes are told against the first.
            queries: A folder or a CSV, as for `evaluate`; `None` lets the labelled items play
                queries, each compared with the others.
            limit: Take so many items only: whole labels, or, with queries, some of every label.
            seed: Draws them, and the labels hidden to measure DIR.
            progress: Told how many photos of how many are embedded, over all encoders.

        Raises:
            LookalikeError: An encoder can't be had, or there is nothing to measure by.
        """
        return compare_encoders(
            self._store,
            lambda: self.encoder,
            encoders,
            queries=None if queries is None else any_path(queries),
            limit=limit,
            seed=seed,
            device=self._device,
            progress=progress,
        )

    def _settle_index(self, stale_share: float = STALE_SHARE) -> None:
        fingerprint = self._latest().artifact.spec.fingerprint
        folder = self.path / INDEX
        try:
            settle_index(self._store, folder, fingerprint, stale_share=stale_share)
        except OSError as error:
            # What was stored is stored: no reason to fail what came before.
            _log.warning("No new index file in %s (%s); answers are right without.", folder, error)
        except EngineError as error:
            _log.warning("%s What was stored is stored; the index catches up later.", error)

    def cluster(
        self,
        out: str | os.PathLike[str],
        *,
        photos: str | os.PathLike[str] | None = None,
        every: bool = False,
        below: float | None = None,
        min_size: int = 2,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Clustering:
        """Group photos into likely identities, and write them as a CSV that `build` reads.

        Groups are joined, the nearest first, while the mean distance of their members is below a
        limit; see `retrieval.evaluation.clusters`. Nothing is written into the gallery.

        Args:
            out: The CSV to write, `path,label`: a made-up name for each cluster, and no label for
                what belongs to none. Photos below its folder are named relative to it, others
                absolutely.
            photos: A folder, whose photos are embedded with the gallery's encoder. `None` takes
                the gallery's items without a label; the CSV then holds all items, the labelled ones
                as they are.
            every: Take all items of the gallery instead, whatever their labels.
            below: The limit, in [0, 2]. `None` takes the one at which clusters of the gallery's own
                labelled items agree best with their labels, if ten labels have several items, else
                0.26.
            min_size: How many photos make a cluster, at least 2.
            overwrite: Replace `out` where it exists.
            progress: Told how many photos of how many are done.

        Raises:
            LookalikeError: There is nothing to cluster, an argument is out of range, or `out` can't
                be written.
        """
        if photos is None:
            return cluster_items(
                self._store,
                Path(out),
                every=every,
                below=below,
                min_size=min_size,
                overwrite=overwrite,
                progress=progress,
            )
        if every:
            raise GalleryError("Say either photos or every: a folder's photos are all clustered.")
        return cluster_photos(
            any_path(photos),
            Path(out),
            lambda: self.encoder,
            store=self._store,
            below=below,
            min_size=min_size,
            overwrite=overwrite,
            progress=progress,
        )

    def _latest(self) -> Opened:
        """Return the encoder the gallery belongs to now, with its index."""
        self._reopen(self._opened)
        return self._opened

    def _with_opened(self, ask: Callable[[Opened], _T]) -> _T:
        """Ask with the encoder held, or, where the gallery has got another by then, with that."""
        while True:
            opened = self._opened
            try:
                return ask(opened)
            except (EncoderChanged, EncoderError):
                # One whose folder was taken away fails as a damaged one does.
                if not self._reopen(opened):
                    raise

    def _reopen(self, opened: Opened) -> bool:
        """Open the encoder the gallery belongs to now; return whether it is another one."""
        with self._store.read() as tx:
            fingerprint = tx.encoder.fingerprint
        with self._reopening:
            if self._opened is not opened:
                return True
            if fingerprint == opened.artifact.spec.fingerprint:
                return False
            # The one before is not closed: other threads may be using it.
            artifact = load_artifact(self._home, self._store)
            self._opened = Opened(self._home, self._store, artifact, self._device)
            return True
