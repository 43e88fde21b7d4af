"""The part of a `Gallery` that is filled with photos."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from retrieval.building import BuildReport, Progress
from retrieval.filling import add_sources, sources_of, sync_folder
from retrieval.first_threshold import tune_first_threshold
from retrieval.generations import STALE_SHARE
from retrieval.paths import any_path
from retrieval.sources import Source
from retrieval.with_encoder import WithEncoder

# Fewer items than this bring no new index file, unless too much has gathered.
_FEW, _OVERDUE_SHARE = 100, 0.3


class Fillable(WithEncoder):
    """The part of a `Gallery` that photos are put into, one by one or a folder at a time."""

    def build(
        self,
        folder: str | os.PathLike[str],
        *,
        labels: str | None = None,
        prune: bool = False,
        allow_duplicates: bool = False,
        progress: Progress | None = None,
    ) -> BuildReport:
        """Bring the gallery in line with a folder of photos; run again, it does what is new.

        Args:
            folder: Searched with all its subfolders.
            labels: `folder` (the parent folder's name), `none`, or the path of a CSV with the
                columns `path` and `label`. `None`: as the last time, at first `folder`.
            prune: Also remove the items whose photo is gone.
            allow_duplicates: Store photos whose bytes are stored already.
            progress: Told how many photos of how many are done.

        Raises:
            LookalikeError: The folder or the CSV can't be read.
        """
        report = sync_folder(
            self._store,
            self.encoder,
            any_path(folder),
            outside=self.path,
            labels=labels,
            prune=prune,
            allow_duplicates=allow_duplicates,
            progress=progress,
        )
        return self._settle(report, only_if_stale=False)

    def add(
        self,
        paths: Iterable[str | os.PathLike[str]],
        *,
        label: str | None = None,
        allow_duplicates: bool = False,
        progress: Progress | None = None,
    ) -> BuildReport:
        """Add photos, and folders of photos.

        Args:
            paths: Files and folders. A file is tried whatever its name.
            label: The label of all of them. Without one, a photo in a folder named here gets its
                parent folder's name, and a photo named itself gets none.
            allow_duplicates: Store photos whose bytes are stored already.
            progress: Told how many photos of how many are done.
        """
        return self.add_sources(
            sources_of(map(any_path, paths), outside=self.path, label=label),
            allow_duplicates=allow_duplicates,
            progress=progress,
        )

    def add_sources(
        self,
        sources: Sequence[Source],
        *,
        allow_duplicates: bool = False,
        progress: Progress | None = None,
    ) -> BuildReport:
        """Add photos, each with a label and metadata of its own; see `add`."""
        report = add_sources(
            self._store,
            self.encoder,
            sources,
            allow_duplicates=allow_duplicates,
            progress=progress,
        )
        return self._settle(report, only_if_stale=True)

    def _settle(self, report: BuildReport, *, only_if_stale: bool) -> BuildReport:
        if report.touched:
            spec = self._opened.artifact.spec
            tune_first_threshold(self._store, spec, only_if_stale=only_if_stale)
        # A large index takes longer to write than a few photos to add: a compaction sees to that.
        few = report.touched < _FEW
        self._settle_index(_OVERDUE_SHARE if few else STALE_SHARE)
        return report
