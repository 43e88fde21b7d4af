"""What whoever runs the service may set."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from retrieval.service.security import Tokens


@dataclass(frozen=True)
class Limits:
    """How much the service takes on.

    Attributes:
        request_bytes: Size of a request's body.
        held_bytes: Bodies of all requests at a time; beyond, requests are refused.
        files: Files in one request.
        pixels: Width × height of a photo.
        seconds: Time for a request's body to arrive, and again for it to be answered.
        photos: Photos being identified or waiting for it; beyond, requests are refused.
        writes: Requests that add photos, being served or waiting; beyond, they are refused.
        batch: Photos encoded together.
        batch_seconds: How long a photo waits for others that are being decoded.
        thumbnail_bytes: Memory for small pictures kept.
        decoders: Threads that decode.
    """

    request_bytes: int = 64 * 2**20
    held_bytes: int = 512 * 2**20
    files: int = 32
    pixels: int = 50_000_000
    seconds: float = 30.0
    photos: int = 128
    writes: int = 16
    batch: int = 16
    batch_seconds: float = 0.01
    thumbnail_bytes: int = 64 * 2**20
    decoders: int = os.cpu_count() or 1


@dataclass(frozen=True)
class Settings:
    """How a gallery is served.

    Attributes:
        tokens: Who may; empty where anybody who reaches the service may do anything.
        hosts: Names the service answers to, without ports; `None` for any.
        cors_origins: Origins of other sites whose pages may ask, e.g. `https://shop.example`.
        device: Where the encoder runs.
        limits: How much is taken on.
    """

    tokens: Tokens = field(default_factory=Tokens)
    hosts: tuple[str, ...] | None = None
    cors_origins: tuple[str, ...] = ()
    device: str = "cpu"
    limits: Limits = field(default_factory=Limits)
