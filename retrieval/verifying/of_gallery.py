"""The part of a `Gallery` that judges pairs."""

from __future__ import annotations

import os
from abc import abstractmethod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.building import Progress
from retrieval.errors import GalleryError
from retrieval.paths import any_path
from retrieval.verifying.answering import Verification, judge_pair, require_way
from retrieval.verifying.model import TrainedVerifier, Verifier
from retrieval.verifying.reranking import Reranker
from retrieval.verifying.storing import DESCRIPTION, FOLDER, load_verifier, save_verifier
from retrieval.with_encoder import WithEncoder


class PairJudge(WithEncoder):
    """The part of a `Gallery` that says whether two photos show the same."""

    @abstractmethod
    def embed(self, image: str | os.PathLike[str] | bytes) -> NDArray[np.float32]:
        """Return the embedding of a photo."""

    def train_verifier(
        self,
        *,
        pairs: str | os.PathLike[str] | None = None,
        count: int = 7000,
        hard: float = 0.0,
        model: str = "auto",
        components: int = 64,
        seed: int = 0,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> TrainedVerifier:
        """Learn from pairs whether two photos show the same, and keep it with the gallery.

        Args:
            pairs: A CSV `path_a,path_b,label` (label 1 or 0), whose photos are embedded. `None`
                draws pairs among the gallery's labelled items.
            count: How many pairs to draw, an even number.
            hard: The share of hard ones among them, in [0, 1]: they are learnt from, and judge
                nothing.
            model: `linear`, `xgboost`, `distance` for no classifier, or `auto`: whichever of those
                installed does best on labels held out.
            components: How many directions embeddings are projected onto first, 0 for none.
            seed: Draws the pairs, deals out the labels.
            overwrite: Replace the verifier that is there.
            progress: Told how many photos of how many are embedded.

        Raises:
            LookalikeError: There is a verifier already, an argument is out of range, XGBoost is not
                installed, or there are too few pairs or labels; nothing is changed then.
        """
        from retrieval.verifying.pairs_to_learn import gallery_pairs, listed_pairs
        from retrieval.verifying.training import MODELS, require_model, train

        if model not in MODELS:
            raise GalleryError(f"There is no classifier {model!r}: say {', '.join(MODELS)}.")
        if not 0 <= hard <= 1:
            raise GalleryError(f"hard is {hard}: say a share from 0 to 1.")
        if components < 0:
            raise GalleryError(f"components is {components}: say 0 or more.")
        folder = self._verifier_folder()
        if (folder / DESCRIPTION).exists() and not overwrite:
            raise GalleryError(
                f"{self.name} has a verifier already: say --overwrite to replace it."
            )
        require_model(model)
        if pairs is None:
            learning = gallery_pairs(self._store, count=count, hard=hard, seed=seed)
        else:
            learning = listed_pairs(self._store, any_path(pairs), self.encoder, progress=progress)
        verifier = train(
            learning, self._latest().artifact.spec, model=model, components=components, seed=seed
        )
        save_verifier(folder, verifier)
        if self._home.is_shared:
            with self._store.write() as tx:
                self._home.put(tx, FOLDER)
        return verifier.trained

    def verify(
        self,
        photo_a: str | os.PathLike[str] | bytes,
        photo_b: str | os.PathLike[str] | bytes,
        *,
        by: str = "auto",
        threshold: float | None = None,
    ) -> Verification:
        """Say whether two photos show the same; neither need be an item.

        Args:
            photo_a: A file's path, or the bytes of one.
            photo_b: The other's.
            by: `distance`, `classifier`, or `auto`: the classifier where the gallery's verifier
                beat the distance, else the distance.
            threshold: They are the same iff the distance, or 1 - probability, is below. `None`
                takes the verifier's, or the distance that tells pairs of the gallery's items apart.

        Raises:
            ImageError: One is no image we can read.
            GalleryError: There is no classifier, or the verifier can't be used.
        """
        verifier = self._verifier()
        way = require_way(by, verifier)
        photos = (photo_a, photo_b)
        return judge_pair(
            np.stack([self.embed(one) for one in photos]),
            verifier,
            self._store,
            by=way,
            threshold=threshold,
            names=(_name(photo_a), _name(photo_b)),
        )

    def _verifier(self) -> Verifier | None:
        fingerprint = self._latest().artifact.spec.fingerprint
        return load_verifier(self._verifier_folder(), fingerprint)

    def _verifier_folder(self) -> Path:
        if self._home.is_shared:
            with self._store.read() as tx:
                self._home.get(tx, FOLDER)
        return self.path / FOLDER

    def _reranker(self) -> Reranker:
        verifier = self._verifier()
        if verifier is None:
            raise GalleryError(
                f"{self.name} has no verifier, which the rule verifier needs: run train-verifier."
            )
        return Reranker(self._store, verifier)


def _name(photo: str | os.PathLike[str] | bytes) -> str | None:
    return None if isinstance(photo, bytes) else os.fspath(photo)
