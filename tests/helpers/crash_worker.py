"""Changes a gallery without end, telling each change before and after, until it is killed."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from retrieval import Gallery, building, generations


def say(**event: object) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def main(gallery_path: Path, encoder: str, photos: Path, seed: int) -> None:
    # Small, so that commits and index files happen often enough to be hit.
    building._COMMIT_PHOTOS = 4
    generations._STALE_COUNT = 5
    choose = random.Random(seed)
    gallery = (
        Gallery.open(gallery_path)
        if gallery_path.exists()
        else Gallery.create(gallery_path, encoder=encoder)
    )
    files = sorted(str(path) for path in photos.rglob("*.png"))
    while True:
        action = choose.choice(["build", "add", "add", "remove", "remove-many"])
        held = {item.path: item.id for item in gallery.items()}
        if action == "build":
            say(begin="build", paths=[])
            gallery.build(photos)
            say(done="build", added=files, removed=[])
        elif action == "add":
            some = choose.sample(files, 3)
            say(begin="add", paths=some)
            gallery.add(some)
            say(done="add", added=some, removed=[])
        elif held:
            share = 1 if action == "remove" else max(1, len(held) // 3)
            some = choose.sample(sorted(held), share)
            say(begin="remove", paths=some)
            gallery.remove([held[path] for path in some])
            say(done="remove", added=[], removed=some)
