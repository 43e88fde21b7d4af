"""Encoders: what turns pixels into vectors, how they are stored, and the runtimes that run them."""

from retrieval.encoders.artifact import Artifact, EncoderSpec
from retrieval.encoders.preprocessing import Preprocessing
from retrieval.encoders.protocol import Encoder
from retrieval.encoders.runtimes import open_encoder

__all__ = ["Artifact", "Encoder", "EncoderSpec", "Preprocessing", "open_encoder"]
