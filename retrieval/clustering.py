"""Photos without labels, grouped into likely identities and written as a CSV to name them in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from db import Store
from retrieval.belonging import require_same
from retrieval.building import Progress
from retrieval.embedding import Embedded, FailedPhoto, Unreadable, embed
from retrieval.encoders import Encoder
from retrieval.errors import GalleryError, LookalikeError
from retrieval.evaluation.cluster_limits import CLUSTERS_BELOW, tune_limit
from retrieval.evaluation.clusters import cluster, spread
from retrieval.evaluation.distances import GalleryVectors, gallery_vectors
from retrieval.evaluation.drawing import draw_whole
from retrieval.lists import named, require_free, write_rows
from retrieval.paths import AnyPath, any_path
from retrieval.sources import Source, find_photos

COLUMNS = ("path", "label")
ASKED, LABELS, DEFAULT = "asked", "labels", "default"
"""Where the limit came from."""

# Labelled items that the limit is tuned by: enough, and a second's work.
_TUNED_ON = 5000


@dataclass(frozen=True)
class Cluster:
    """Photos that likely show one identity.

    Attributes:
        label: The name made up for it.
        photos: How many there are.
        distance: The mean distance of their pairs.
        example: The path of the most central one.
    """

    label: str
    photos: int
    distance: float
    example: str


@dataclass(frozen=True)
class Clustering:
    """Photos grouped into likely identities.

    Attributes:
        path: The CSV that was written.
        photos: How many photos were looked at.
        below: The mean distance below which groups were joined.
        below_from: Where that came from: `asked`, `labels` (the gallery's own, which it suits
            best), or `default`.
        min_size: How many photos make a cluster.
        clustered: How many photos belong to a cluster.
        clusters: The clusters, largest first, equal ones by their first photo.
        failed: Photos that could not be read; the CSV leaves them out.
    """

    path: str
    photos: int
    below: float
    below_from: str
    min_size: int
    clustered: int
    clusters: tuple[Cluster, ...]
    failed: tuple[FailedPhoto, ...] = ()


def cluster_folder(
    photos: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    encoder: str,
    below: float | None = None,
    min_size: int = 2,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Clustering:
    """Group a folder's photos into likely identities, without any gallery.

    Args:
        photos: The folder, searched with all its subfolders.
        out: See `Gallery.cluster`, as all that is not told here.
        encoder: A packaged encoder, `timm:NAME`, or an artifact's folder.
        below: The limit, in [0, 2]; `None` takes 0.26.
        min_size: How many photos make a cluster, at least 2.
        device: `cpu`, `cuda` or `mps`.
        overwrite: Replace `out` where it exists.
        progress: Told how many photos of how many are embedded.

    Raises:
        LookalikeError: There is nothing to cluster, an argument is out of range, the encoder can't
            be had, or `out` can't be written.
    """
    from retrieval.encoders.factory import borrowed_encoder

    _require_sense(Path(out), below, min_size, overwrite=overwrite)
    _photos(
        any_path(photos), Path(out)
    )  # what would be refused is refused before an encoder is made
    with borrowed_encoder(encoder, device=device) as opened:
        return cluster_photos(
            any_path(photos),
            Path(out),
            lambda: opened,
            store=None,
            below=below,
            min_size=min_size,
            overwrite=overwrite,
            progress=progress,
        )


def cluster_photos(
    photos: AnyPath,
    out: Path,
    open_encoder: Callable[[], Encoder],
    *,
    store: Store | None,
    below: float | None,
    min_size: int,
    overwrite: bool,
    progress: Progress | None,
) -> Clustering:
    """Group a folder's photos; see `Gallery.cluster`. A store's labelled items tune the limit."""
    _require_sense(out, below, min_size, overwrite=overwrite)
    sources = _photos(photos, out)
    encoder = open_encoder()
    tuned = None
    if store is not None:
        with store.read() as tx:
            require_same(tx.encoder, encoder.spec.fingerprint)
            tuned = _tuned(gallery_vectors(tx)) if below is None else None
    vectors = np.empty((len(sources), encoder.spec.dim), dtype=np.float16)
    paths: list[str] = []
    failed: list[FailedPhoto] = []
    for done, one in enumerate(embed(sources, encoder), start=1):
        if isinstance(one, Embedded):
            vectors[len(paths)] = one.vector
            paths.append(str(one.source.path))
        elif isinstance(one, Unreadable):
            failed.append(FailedPhoto(str(one.source.path), one.reason))
        if progress is not None:
            progress(done, len(sources))
    if not paths:
        raise LookalikeError(
            f"None of the {len(failed):,} photos in {photos} could be read; the first: "
            f"{failed[0].path}: {failed[0].reason}."
        )
    limit, limit_from = _limit(below, tuned)
    labels, clusters = _named_clusters(
        vectors[: len(paths)], paths, limit, min_size, taken=frozenset()
    )
    _write(out, zip(paths, labels, strict=True))
    return _clustering(out, labels, limit, limit_from, min_size, clusters, failed)


def cluster_items(
    store: Store,
    out: Path,
    *,
    every: bool,
    below: float | None,
    min_size: int,
    overwrite: bool,
    progress: Progress | None,
) -> Clustering:
    """Group a gallery's items by their stored vectors; see `Gallery.cluster`."""
    _require_sense(out, below, min_size, overwrite=overwrite)
    with store.read() as tx:
        gallery = gallery_vectors(tx)
    chosen = np.flatnonzero((gallery.identities < 0) | every)
    if not len(chosen):
        what = (
            f"All {len(gallery.items):,} items have a label: say --all to cluster them all the same"
            if gallery.items
            else "The gallery has no items to cluster: add some"
        )
        raise LookalikeError(f"{what}.")
    limit, limit_from = _limit(below, _tuned(gallery) if below is None else None)
    paths = [gallery.items[place].path for place in chosen]
    # A name that an item carries already would make one identity of two.
    taken = frozenset(gallery.codes)
    labels, clusters = _named_clusters(
        gallery.vectors[chosen], paths, limit, min_size, taken=taken, progress=progress
    )
    told = {item.path: item.label for item in gallery.items}
    _write(out, (told | dict(zip(paths, labels, strict=True))).items())
    return _clustering(out, labels, limit, limit_from, min_size, clusters, [])


def _require_sense(out: Path, below: float | None, min_size: int, *, overwrite: bool) -> None:
    """Refuse what can't be done before the work for it begins."""
    if below is not None and not 0 <= below <= 2:
        raise GalleryError(f"below is {below}: say a distance from 0 to 2.")
    if min_size < 2:
        raise GalleryError(f"min_size is {min_size}: a cluster has at least 2 photos.")
    require_free(out, overwrite=overwrite)


def _photos(folder: AnyPath, out: Path) -> list[Source]:
    """List a folder's photos, all of which can be named in a CSV."""
    sources = [Source(path) for path in find_photos(folder)]
    if not sources:
        raise LookalikeError(f"{folder} holds no photos: name the folder that does.")
    beside = out.parent.resolve()
    for source in sources:
        named(str(source.path), beside)
    return sources


def _tuned(gallery: GalleryVectors) -> float | None:
    """Return the limit that suits the gallery's labelled items best; `None` with too few labels."""
    labelled = np.flatnonzero(gallery.identities >= 0)
    drawn = labelled[draw_whole(gallery.identities[labelled], _TUNED_ON)]
    return tune_limit(gallery.vectors[drawn], gallery.identities[drawn])


def _limit(asked: float | None, tuned: float | None) -> tuple[float, str]:
    if asked is not None:
        return asked, ASKED
    return (CLUSTERS_BELOW, DEFAULT) if tuned is None else (tuned, LABELS)


def _named_clusters(
    vectors: NDArray[np.float16],
    paths: Sequence[str],
    below: float,
    min_size: int,
    *,
    taken: frozenset[str],
    progress: Progress | None = None,
) -> tuple[list[str | None], list[Cluster]]:
    """Return the label of each photo, and the clusters."""
    groups = cluster(vectors, below=below, progress=progress)
    firsts, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    parts = np.split(np.argsort(members, kind="stable"), np.cumsum(sizes)[:-1])
    chosen = np.flatnonzero(sizes >= min_size)
    chosen = chosen[np.lexsort((firsts[chosen], -sizes[chosen]))]
    names = _new_names(len(chosen), taken)
    labels: list[str | None] = [None] * len(paths)
    clusters = []
    for name, place in zip(names, chosen.tolist(), strict=True):
        part = parts[place]
        distance, central = spread(vectors[part])
        for photo in part.tolist():
            labels[photo] = name
        clusters.append(Cluster(name, len(part), distance, paths[part[central]]))
    return labels, clusters


def _new_names(count: int, taken: frozenset[str]) -> list[str]:
    """Make up names that nobody has, `cluster-001` and so on."""
    width = max(3, len(str(count + len(taken))))
    names = (f"cluster-{number:0{width}}" for number in range(1, count + len(taken) + 1))
    return [name for name in names if name not in taken][:count]


def _write(out: Path, labels: Iterable[tuple[str, str | None]]) -> None:
    folder = out.parent.resolve()
    write_rows(out, COLUMNS, ((named(path, folder), label or "") for path, label in labels))


def _clustering(
    out: Path,
    labels: Sequence[str | None],
    below: float,
    below_from: str,
    min_size: int,
    clusters: Sequence[Cluster],
    failed: Sequence[FailedPhoto],
) -> Clustering:
    return Clustering(
        path=str(out),
        photos=len(labels),
        below=below,
        below_from=below_from,
        min_size=min_size,
        clustered=sum(label is not None for label in labels),
        clusters=tuple(clusters),
        failed=tuple(failed),
    )
