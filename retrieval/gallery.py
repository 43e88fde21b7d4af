"""The gallery: reference items that photos are identified against."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from db import Threshold
from retrieval.asking import Question, answer, answer_many, named_rule, question, search
from retrieval.asking_together import AsksTogether
from retrieval.building import Progress
from retrieval.calibration import tune_threshold
from retrieval.checking import CheckReport, check
from retrieval.conditions import Where, conditions
from retrieval.embedding import FailedPhoto, embed_image, read_file
from retrieval.encoders import Encoder
from retrieval.errors import GalleryError, ImageError
from retrieval.evaluation.protocol import Evaluation, OpenSetPlan
from retrieval.evaluation.verification import PairEvaluation, evaluate_pairs
from retrieval.fillable import Fillable
from retrieval.first_threshold import best_rule, require_unlearnt
from retrieval.folder import GalleryInfo, create_gallery, describe, open_gallery
from retrieval.identification import Identification, NearestItem
from retrieval.judging import judge
from retrieval.paths import any_path
from retrieval.place import Place
from retrieval.proving import Found
from retrieval.verifying.reranking import NAME as VERIFIER
from retrieval.with_encoder import Opened

DEFAULT_ENCODER = "efficientnet_lite0"


class Gallery(AsksTogether, Fillable):
    """An open gallery. Use it as a context manager, or close it.

    Example:
        >>> from retrieval import Gallery
        >>> with Gallery.create(folder / "gallery", encoder=encoder) as gallery:
        ...     report = gallery.build(folder / "photos")
        ...     answer = gallery.identify(folder / "query.png", k=3)
        >>> report.added
        6
        >>> answer.decision, answer.items[0].label
        (None, 'red')
        >>> with Gallery.open(folder / "gallery") as gallery:
        ...     gallery.identify(folder / "query.png", threshold=0.1).label
        ...     gallery.remove(gallery.find(label="red"))
        ...     gallery.identify(folder / "query.png", threshold=0.1).decision
        'red'
        3
        'unknown'
    """

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str] | Place,
        *,
        encoder: str = DEFAULT_ENCODER,
        weights: str | os.PathLike[str] | None = None,
        precision: str = "auto",
        device: str = "cpu",
        photos: Sequence[str | os.PathLike[str]] = (),
    ) -> Self:
        """Create an empty gallery.

        Args:
            path: Its folder, which must not exist yet, or be empty; or the URL of an empty
                PostgreSQL database, `postgresql://USER@HOST/NAME`.
            encoder: A packaged encoder, `timm:NAME`, or an artifact's folder.
            weights: A local checkpoint for a timm model.
            precision: `auto`, `float32`, `bfloat16` or `int8`; kept with the gallery.
            device: `cpu`, `cuda` or `mps`, for this session.
            photos: For `int8`: photos like those to come, which the arithmetic is fitted to.

        Raises:
            GalleryError: Something is in the way.
            EncoderError: The encoder can't be had.
            StoreError: The place is on a network file system.
        """
        create_gallery(
            Place.of(path),
            encoder=encoder,
            weights=Path(weights) if weights else None,
            precision=precision,
            device=device,
            photos=[any_path(photo) for photo in photos],
        )
        return cls.open(path, device=device)

    @classmethod
    def open(cls, path: str | os.PathLike[str] | Place, *, device: str = "cpu") -> Self:
        """Open an existing gallery: a folder, or `postgresql://USER@HOST/NAME`.

        Raises:
            GalleryError: There is none, or its parts don't belong together.
            StoreError: Its store is damaged, newer than this lookalike, on a network disk, or can't
                be reached.
            EncoderError: Its encoder is missing or damaged.
        """
        store, home, artifact = open_gallery(Place.of(path))
        return cls(home, store, artifact, device)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    # Asking

    def embed(self, image: str | os.PathLike[str] | bytes) -> NDArray[np.float32]:
        """Return the embedding of a photo: float32, shape `(dim,)`, L2-normalised.

        Raises:
            ImageError: It is no image we can read; the text names the file.
        """
        self._latest()
        return self._with_opened(lambda opened: _embed(image, opened.encoder))

    def nearest(
        self, queries: NDArray[np.float32], k: int = 5, *, where: Where = None
    ) -> list[list[NearestItem]]:
        """Return the k nearest items of each embedding, nearest first.

        Args:
            queries: float32, shape `(n, dim)`, L2-normalised; made by this gallery's encoder.
            k: At least 1.
            where: Conditions that items must meet, as for `identify`.

        Raises:
            GalleryError: k is below 1, or the conditions can't be used.
            EncoderChanged: The gallery was given another encoder since the last call of `embed`:
                embed the photos again.
        """
        if k < 1:
            raise GalleryError(f"k is {k}: ask for at least 1 item.")
        return self._opened.searcher.search(queries, k, where=conditions(where)).items

    def identify(
        self,
        image: str | os.PathLike[str] | bytes,
        *,
        k: int = 5,
        threshold: float | None = None,
        rule: str | None = None,
        where: Where = None,
    ) -> Identification:
        """Say which identity a photo shows.

        Args:
            image: A file's path, or the bytes of one.
            k: How many of the nearest items to return.
            threshold: τ; `None` uses the gallery's.
            rule: What makes the score that is compared with τ: `nearest`, `margin`, `rivals`,
                `ratio`, `nac`, or `verifier`, whose classifier also orders the nearest items anew.
                `None` takes the rule of the gallery's threshold, or, where `threshold` is given,
                `nearest`: τ is a cosine distance then.
            where: Compare only with items that meet all of these conditions, e.g.
                `["label=Apple|Pear", "price<3"]`; docs/filters.md explains how they are written.

        Raises:
            ImageError: It is no image we can read.
            GalleryError: k is below 1, there is no such rule, no verifier for it, or the conditions
                can't be used.
        """
        asked = self._question(k, threshold, rule, where)

        def ask(opened: Opened) -> tuple[Found, NDArray[np.float32]]:
            vector = _embed(image, opened.encoder)
            return search(opened.searcher, vector[np.newaxis], asked), vector

        found, vector = self._with_opened(ask)
        name = None if isinstance(image, bytes) else os.fspath(image)
        return answer(found, 0, asked, name, vector)

    def identify_many(
        self,
        images: Iterable[str | os.PathLike[str]],
        *,
        k: int = 5,
        threshold: float | None = None,
        rule: str | None = None,
        where: Where = None,
    ) -> Iterator[Identification | FailedPhoto]:
        """Identify many photos at the speed of `build`, in their order.

        One that can't be read becomes a `FailedPhoto`. Args are those of `identify`.

        Raises:
            EncoderChanged: The gallery was given another encoder halfway: ask the rest again.
        """
        asked = self._question(k, threshold, rule, where)
        opened = self._latest()
        yield from answer_many(opened.searcher, opened.encoder, map(any_path, images), asked)

    def _question(
        self, k: int, threshold: float | None, rule: str | None, where: Where
    ) -> Question:
        reranker = self._reranker() if rule == VERIFIER else None
        return question(k, threshold, None if reranker else rule, reranker, where)

    def threshold(self) -> Threshold | None:
        """Return the threshold in force, with where it came from."""
        with self._store.read() as tx:
            return tx.threshold()

    def tune_threshold(
        self,
        *,
        objective: str = "fpir=0.05",
        strangers: str | os.PathLike[str] | None = None,
        confidence: float | None = None,
        rule: str | None = None,
    ) -> Threshold:
        """Tune the threshold, and put it in force.

        Args:
            objective: `fpir=X` promises that a photo of a label never seen is accepted with
                probability X at most, averaged over labels and calibrations, whatever the scores'
                distribution; docs/thresholds.md says what is proven, and for what. Without a
                promise: `far=X` (X of these very strangers), `precision=X`, `f1`, `accuracy`,
                `eer`.
            strangers: Photos of labels the gallery lacks: a folder (labels are the parent folders'
                names) or a CSV `path,label`. `None` takes the gallery's own, each label left out in
                turn.
            confidence: With strangers and `fpir=X`: keep within X for this very threshold, with
                this probability over the strangers supplied.
            rule: How scores are made; `None` takes the one that does best for the number of labels,
                and for an encoder that was trained on them or not.

        Raises:
            NotEnoughLabels: There are too few labels for the promise; the text says how many it
                takes.
            LookalikeError: The objective is none or out of reach, or the strangers can't be used.
        """
        opened = self._latest()
        spec, labels = opened.artifact.spec, list(self.labels())
        if strangers is None:
            require_unlearnt(spec, labels)
        return tune_threshold(
            self._store,
            opened.searcher,
            lambda: opened.encoder,
            objective=objective,
            strangers=any_path(strangers) if strangers is not None else None,
            confidence=confidence,
            rule=named_rule(rule) or best_rule(spec, labels),
        )

    # Looking after

    def evaluate(
        self,
        queries: str | os.PathLike[str] | None = None,
        *,
        split: str | None = None,
        rule: str | None = None,
        thresholds: Sequence[float] = (),
        open_set: OpenSetPlan | None = None,
        report: str | os.PathLike[str] | None = None,
        table: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> Evaluation:
        """Judge the gallery by queries whose labels are known.

        Args:
            queries: A folder (labels are the parent folders' names; with subfolders `probe` and
                `unknown`, the latter's photos are strangers) or a CSV `path,label[,split][,group]`.
                A photo whose label the gallery lacks is a stranger. One that is itself an item, by
                its bytes, is not compared with it, nor with items of its group. `None`: the
                gallery's own labelled items play queries, and nothing is encoded.
            split: Only the CSV's rows of this split.
            rule: How scores are made; `None` takes the rule of the gallery's threshold, or, without
                one, what `tune_threshold` would.
            thresholds: Scores to judge the decision at, beside the gallery's threshold.
            open_set: Also hide a share of the labels from the gallery, over and over.
            report: Also write a page there, with curves and the worst photos.
            table: Also write the figures there as CSV.
            progress: Told how many photos of how many are done.

        Raises:
            LookalikeError: The queries can't be read, there are too few labels to hide some, or
                the report or the table can't be written.
        """
        return judge(
            self._store,
            self.path,
            self._latest().artifact.spec,
            lambda: self.encoder,
            None if queries is None else any_path(queries),
            split=split,
            rule=named_rule(rule),
            thresholds=thresholds,
            open_set=open_set,
            report=None if report is None else Path(report),
            table=None if table is None else Path(table),
            progress=progress,
        )

    def evaluate_pairs(
        self,
        pairs: str | os.PathLike[str],
        *,
        thresholds: Sequence[float] = (),
        progress: Progress | None = None,
    ) -> PairEvaluation:
        """Judge the gallery's encoder by pairs of photos; its items play no part.

        Args:
            pairs: A CSV `path_a,path_b,label` (label 1 or 0), paths relative to its folder.
            thresholds: Distances to judge the decision at.
            progress: Told how many photos of how many are done.

        Raises:
            LookalikeError: The pairs can't be read.
        """
        return evaluate_pairs(
            any_path(pairs), self.encoder, thresholds=thresholds, progress=progress
        )

    def info(self) -> GalleryInfo:
        """Say what the gallery is."""
        return describe(self._home, self._store)

    def check(self) -> CheckReport:
        """Prove that store, files and index agree."""
        return self._with_opened(lambda opened: check(self._store, opened.artifact, self._home))


def _embed(image: str | os.PathLike[str] | bytes, encoder: Encoder) -> NDArray[np.float32]:
    try:
        data = image if isinstance(image, bytes) else read_file(any_path(image))[0]
        return embed_image(data, encoder)
    except ImageError as error:
        what = "The image" if isinstance(image, bytes) else os.fspath(image)
        raise ImageError(f"{what} can't be used as a query: {error}.") from error
