"""Broken, hostile and wrong files: refused in words, without a server error, a path, or a leak."""

from __future__ import annotations

import random
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Client
from PIL import Image

Process = Callable[..., AbstractContextManager[tuple[Client, Any]]]
KINDS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "MPO", "ICO")
_LEAK = 50_000_000


@cache
def sound() -> list[bytes]:
    """Return small photos in all formats that are read, and one that is not."""
    image = Image.effect_noise((24, 16), 80).convert("RGB")
    made = []
    for kind in KINDS:
        data = BytesIO()
        image.save(data, kind)
        made.append(data.getvalue())
    from pillow_heif import from_pillow

    data = BytesIO()
    from_pillow(image).save(data)
    made.append(data.getvalue())
    return made


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def hostile(choose: random.Random) -> list[bytes]:
    """Return what is no photo at all: bombs, markup, archives, nothing."""
    side = choose.choice([20_000, 65_535, 2**31 - 1])
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = chunk(b"IDAT", zlib.compress(bytes(100_000)))
    return [
        b"",
        b"\0" * choose.randrange(1, 5000),
        choose.randbytes(choose.randrange(1, 5000)),
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>',
        b"<!DOCTYPE html><html><body>hello</body></html>",
        b"PK\x03\x04" + bytes(100),
        b"%PDF-1.7\n" + bytes(100),
        b"push graphic-context\nfill 'url(https://127.0.0.1/x)'",
        b"GIF89a" + choose.randbytes(100),
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, side, side, 1, 24, *[0] * 6),
        b"\xff\xd8\xff\xe0" + choose.randbytes(200),
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + bomb + chunk(b"IEND", b""),
        b"II*\0" + struct.pack("<I", choose.randrange(2**32)) + choose.randbytes(50),
        b"RIFF\xff\xff\xff\xffWEBPVP8X" + choose.randbytes(50),
        struct.pack(">I", choose.randrange(2**32)) + b"ftypavif" + choose.randbytes(80),
        struct.pack(">I", 24) + b"ftypheic" + choose.randbytes(80),
    ]


def broken(seed: int) -> Iterator[bytes]:
    """Yield files without end: cut short, with flipped bits, and hostile ones."""
    choose = random.Random(seed)
    while True:
        for data in sound():
            yield data[: choose.randrange(len(data))]
            flipped = bytearray(data)
            for _ in range(choose.choice([1, 1, 3, 20])):
                flipped[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
            yield bytes(flipped)
            yield bytes(flipped) + choose.randbytes(50)
        yield from hostile(choose)


def name(choose: random.Random) -> str:
    return choose.choice(
        ["a.png", "../../etc/passwd", "C:\\boot.ini", "a.jpg.exe", "\u202egnp.a", "x" * 3000, "%00"]
    )


def send(client: Client, gallery: Path, count: int, *, seed: int) -> None:
    """Send broken files to both routes that take photos, a few at a time or alone."""
    choose = random.Random(seed)
    files = islice(broken(seed), count)
    while some := list(islice(files, choose.choice([1, 1, 2, 8, 20]))):
        path = choose.choice(["/v1/identify", "/v1/identify", "/v1/identify", "/v1/items"])
        kind = choose.choice(["image/png", "text/html", "application/x-php"])
        parts = [("images", (name(choose), data, kind)) for data in some]
        answer = client.post(path, files=parts)
        assert answer.status_code in (200, 201, 422), answer.text
        said = answer.json()
        if answer.status_code == 422:
            assert answer.headers["content-type"] == "application/problem+json"
            told = [said["detail"], *(one["reason"] for one in said.get("failed", []))]
        else:
            told = [one["reason"] for one in said["failed"]]
        for text in told:
            assert "/etc" not in text
            assert str(gallery.parent) not in text
            assert "Traceback" not in text


def resident(process_id: int) -> int:
    """Return how much memory a process holds, in bytes."""
    fields = Path(f"/proc/{process_id}/statm").read_text().split()
    return int(fields[1]) * 4096


def test_broken_uploads_are_refused_in_words(process: Process, gallery_path: Path) -> None:
    with process(gallery_path) as (client, _):
        send(client, gallery_path, 200, seed=1)
        assert client.get("/readyz").status_code == 200
    kept = {path.suffix for path in (gallery_path / "uploads").iterdir()}
    assert kept <= {".png", ".jpg"}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_thousands_of_broken_uploads_leak_nothing(
    process: Process, reference: Path, tmp_path: Path
) -> None:
    gallery = Path(shutil.copytree(reference / "gallery", tmp_path / "gallery"))
    with process(gallery) as (client, running):
        # What is loaded at first use is no leak.
        send(client, gallery, 500, seed=2)
        before = resident(running.pid)
        send(client, gallery, 5000, seed=3)
        assert resident(running.pid) - before < _LEAK
        assert client.get("/readyz").status_code == 200
