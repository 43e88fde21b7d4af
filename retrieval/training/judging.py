"""What a trained encoder is worth, told by photos kept back, and the threshold it brings.

The gallery is what was trained on. Other photos of its labels are known queries; photos of labels
that were not trained on are strangers, as no label of the gallery itself can be any more: what an
encoder was trained on it tells apart better than what it never saw.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.calibration import TARGET_FPIR, fpir_threshold, in_brief
from retrieval.evaluation.comparing import compare
from retrieval.evaluation.decisions import Searches, decision_curve, decision_rates, dir_at_fpir
from retrieval.evaluation.metrics import recall_at_k
from retrieval.rules import RULES, default_rule
from retrieval.training.photos import Division

_RIVALS = max(rule.identities for rule in RULES.values())
_FPIRS = (0.05, 0.01)

Vectors = NDArray[np.float32]


def beside_pretrained(learnt: Vectors, pretrained: Vectors, share: float) -> Vectors:
    """Put two embeddings side by side; see `encoders.beside`.

    Args:
        learnt: float32, shape `(n, dim)`, L2-normalised.
        pretrained: float32, shape `(n, base_dim)`, L2-normalised.
        share: Share of the distance that `learnt` decides.

    Returns:
        float32, shape `(n, base_dim + dim)`, L2-normalised; `learnt` itself where it decides all.
    """
    if share == 1:
        return learnt
    return np.concatenate([np.sqrt(1 - share) * pretrained, np.sqrt(share) * learnt], axis=1)


class HeldOut:
    """Embedded photos that judge an encoder."""

    def __init__(self, vectors: Vectors, codes: NDArray[np.int64], division: Division) -> None:
        """Compare them.

        Args:
            vectors: float32, shape `(n, dim)`, of all photos.
            codes: int64, shape `(n,)`, their labels.
            division: Which of them are gallery, known queries and strangers.
        """
        asked = np.concatenate([division.known, division.strangers])
        self._labels = codes[division.strangers]
        self._rule = default_rule(len(np.unique(codes[division.train])), learnt=True)
        gallery = vectors[division.train].astype(np.float16)
        compared = compare(
            vectors[asked], codes[asked], gallery, codes[division.train], rivals=_RIVALS
        )
        self._recall = recall_at_k(compared.outcomes, 1)
        self._searches = {
            name: Searches.of(compared.outcomes.nearest_mate, compared.rival_distances, rule)
            for name, rule in RULES.items()
        }

    def figures(self) -> dict[str, float]:
        """Return recall@1, and DIR at some FPIR by the default rule, where they can be told.

        The first one decides how long to train: DIR of photos of the same visits falls while that
        of other visits still rises, so it would end training too early.
        """
        recall = self._recall.value if self._recall is not None else None
        curve = decision_curve(self._searches[self._rule.name])
        points = {f"dir@fpir={fpir}": dir_at_fpir(curve, fpir).dir for fpir in _FPIRS}
        told = {"recall@1": recall} | points
        return {name: value for name, value in told.items() if value is not None}

    def threshold(self) -> dict[str, Any] | None:
        """Tune a threshold for FPIR 5 % on the strangers; `None` where there are too few.

        Returns:
            What `db.Threshold` holds of it: `value`, `rule`, `objective`, `details`, `calibration`.
        """
        searches = self._searches[self._rule.name]
        scores = searches.score[~searches.mated]
        tuned = fpir_threshold(scores, self._labels, TARGET_FPIR)
        if tuned is None:
            return None
        rates = decision_rates(searches, tuned.value)
        return {
            "value": tuned.value,
            "rule": self._rule.name,
            "objective": tuned.objective,
            "details": {
                # What is promised of one encoder isn't of the next, trained on other photos too.
                "promised": False,
                "rehearsed": True,
                "fpir": tuned.fpir,
                "dir": rates.dir,
                "n_mated": rates.n_mated,
                "n_non_mated": rates.n_non_mated,
                "strangers": len(scores),
                "stranger_labels": len(np.unique(self._labels)),
            },
            "calibration": in_brief(scores, self._labels, searches),
        }
