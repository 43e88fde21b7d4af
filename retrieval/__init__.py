"""lookalike: who is in this photo?

    from retrieval import Gallery

    with Gallery.open("my-gallery") as gallery:
        answer = gallery.identify("photo.jpg")

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from db import Condition
    from retrieval.auditing import Audit, AuditedItem, DuplicatePair, Suspect
    from retrieval.building import BuildReport, Duplicate
    from retrieval.checking import CheckReport
    from retrieval.clustering import Cluster, Clustering
    from retrieval.copying import CopyReport
    from retrieval.deduplicating import DedupeReport, DuplicateGroup, GroupedItem, NearDuplicate
    from retrieval.embedding import FailedPhoto
    from retrieval.encoder_comparison import ChangedAnswer, ComparedEncoder, EncoderComparison
    from retrieval.errors import (
        EncoderChanged,
        EncoderError,
        GalleryError,
        ImageError,
        LabelsError,
        LookalikeError,
    )
    from retrieval.evaluation.protocol import Evaluation
    from retrieval.evaluation.verification import PairEvaluation
    from retrieval.folder import GalleryInfo
    from retrieval.gallery import Gallery
    from retrieval.identification import Identification, NearestItem
    from retrieval.pairing import DrawnPairs
    from retrieval.reembedding import ReembedReport
    from retrieval.verifying.answering import Verification
    from retrieval.verifying.model import TrainedVerifier

_HOME = {
    "Audit": "auditing",
    "AuditedItem": "auditing",
    "BuildReport": "building",
    "ChangedAnswer": "encoder_comparison",
    "CheckReport": "checking",
    "Cluster": "clustering",
    "Clustering": "clustering",
    "ComparedEncoder": "encoder_comparison",
    "Condition": "conditions",
    "CopyReport": "copying",
    "DedupeReport": "deduplicating",
    "DrawnPairs": "pairing",
    "Duplicate": "building",
    "DuplicateGroup": "deduplicating",
    "DuplicatePair": "auditing",
    "EncoderChanged": "errors",
    "EncoderComparison": "encoder_comparison",
    "EncoderError": "errors",
    "Evaluation": "evaluation.protocol",
    "FailedPhoto": "embedding",
    "Gallery": "gallery",
    "GalleryError": "errors",
    "GalleryInfo": "folder",
    "GroupedItem": "deduplicating",
    "Identification": "identification",
    "ImageError": "errors",
    "LabelsError": "errors",
    "LookalikeError": "errors",
    "NearDuplicate": "deduplicating",
    "NearestItem": "identification",
    "PairEvaluation": "evaluation.verification",
    "ReembedReport": "reembedding",
    "Suspect": "auditing",
    "TrainedVerifier": "verifying.model",
    "Verification": "verifying.answering",
}

__all__ = [
    "Audit",
    "AuditedItem",
    "BuildReport",
    "ChangedAnswer",
    "CheckReport",
    "Cluster",
    "Clustering",
    "ComparedEncoder",
    "Condition",
    "CopyReport",
    "DedupeReport",
    "DrawnPairs",
    "Duplicate",
    "DuplicateGroup",
    "DuplicatePair",
    "EncoderChanged",
    "EncoderComparison",
    "EncoderError",
    "Evaluation",
    "FailedPhoto",
    "Gallery",
    "GalleryError",
    "GalleryInfo",
    "GroupedItem",
    "Identification",
    "ImageError",
    "LabelsError",
    "LookalikeError",
    "NearDuplicate",
    "NearestItem",
    "PairEvaluation",
    "ReembedReport",
    "Suspect",
    "TrainedVerifier",
    "Verification",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
