"""A gallery belongs to one encoder at a time, and others may give it another one meanwhile.

Whoever holds an encoder asks here, in the very transaction whose vectors it is about to compare or
to store, whether the gallery still belongs to it: vectors of two encoders never meet.
"""

from __future__ import annotations

from db import Reader, StoredEncoder
from retrieval.errors import EncoderChanged


def require_encoder(tx: Reader, fingerprint: str) -> None:
    """Make sure that the gallery belongs to the encoder with this fingerprint.

    Raises:
        EncoderChanged: It was given another one.
    """
    require_same(tx.encoder, fingerprint)


def require_same(stored: StoredEncoder, fingerprint: str) -> None:
    """Make sure that an encoder read from the store earlier is the one with this fingerprint.

    Raises:
        EncoderChanged: It is another one.
    """
    if stored.fingerprint != fingerprint:
        raise EncoderChanged(
            f"This gallery was given another encoder meanwhile ({stored.name}), and vectors of two "
            "encoders don't compare: do the same again."
        )
