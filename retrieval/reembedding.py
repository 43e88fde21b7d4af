"""Giving a gallery another encoder: new vectors beside the old ones, then one switch.

At any moment others may query, add and remove; they see the old encoder until the switch. What a
crash (or Ctrl-C, or a power cut) leaves:

| in the step                          | on disk                             | in force   |
|--------------------------------------|-------------------------------------|------------|
| 1 the encoder is made, in a folder   | that folder, which nobody reads     | the old    |
|   `.encoder.being-made-*`            |                                     |            |
| 2 it is placed in its own folder and | its folder, whole; named in the     | the old    |
|   named as the one to come           | settings or not                     |            |
| 3 vectors, some hundreds at a time   | those committed, seen by nobody     | the old    |
| 4 the switch, one transaction        | all of it or nothing                | old or new |
| 5 the old encoder's folder goes      | it, or a part in `.encoder.going-*` | the new    |

Run again with the same encoder, 1 is done anew, 2 finds its folder, 3 goes on where it was, and 5
is made up for. The switch moves the encoder, its vectors, the precision and the threshold, and
removes the items that can't be embedded, all at one sequence number; under the write lock it makes
sure that every item has its vector.
"""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db import Reader, Store, StoredEncoder, Threshold
from retrieval.belonging import require_same
from retrieval.building import Progress
from retrieval.calibration import Tuned, put_threshold
from retrieval.embedding import FailedPhoto
from retrieval.encoder_folders import (
    COMING,
    coming_artifact,
    place,
    place_for_another,
    take_away_others,
)
from retrieval.encoders import Artifact, open_encoder
from retrieval.encoders.artifact import OPENVINO_MODELS, EncoderSpec
from retrieval.errors import GalleryError
from retrieval.first_threshold import first_threshold, travelling_threshold
from retrieval.home import Home
from retrieval.new_vectors import NewVectors, nothing_left, require_photos
from retrieval.paths import any_path

CURRENT = "current"
"""What names the encoder a gallery belongs to."""
# A threshold tuned before so large a share of the items was embedded is tuned again.
_STALE_SHARE = 0.1


@dataclass(frozen=True)
class ReembedReport:
    """What a reembed did.

    Attributes:
        encoder: The name of the encoder the gallery belongs to now.
        fingerprint: Its fingerprint.
        dim: Length of its vectors.
        switched: Whether it is another one than before.
        items: How many items there are.
        embedded: Vectors made now.
        kept: Vectors that an earlier run, broken off, had made.
        dropped: Items removed because their photo is missing, has changed or can't be read.
        threshold: The threshold in force.
    """

    encoder: str
    fingerprint: str
    dim: int
    switched: bool
    items: int
    embedded: int
    kept: int
    dropped: tuple[FailedPhoto, ...]
    threshold: Threshold | None


def reembed(
    store: Store,
    home: Home,
    *,
    encoder: str,
    weights: Path | None,
    precision: str | None,
    device: str,
    drop_missing: bool,
    progress: Progress | None,
) -> ReembedReport:
    """Give a gallery another encoder; see `Gallery.reembed`."""
    from retrieval.encoders.factory import make_artifact
    from retrieval.encoders.quantising import quantise

    with store.read() as tx:
        before, photos = tx.encoder, [any_path(item.path) for item in tx.items()]
        precision = precision or str(tx.settings()["precision"])
    if encoder == CURRENT:
        return _stay(store, home, precision)
    with place_for_another(home) as made_at:
        made = make_artifact(encoder, made_at, weights=weights)
        if made.spec.fingerprint == before.fingerprint:
            return _stay(store, home, precision)
        # What would be refused is refused before the work.
        travelling_threshold(made.spec)
        state = {"fingerprint": made.spec.fingerprint, "precision": precision}
        require_photos(store, home.name, state, drop_missing=drop_missing)
        with store.read() as tx:
            placed = coming_artifact(home, made.spec.fingerprint, tx)
        network = OPENVINO_MODELS["int8"]
        if precision == "int8" and not (placed or made).has(network):
            made, placed = quantise(made, photos), None
        open_encoder(placed or made, precision=precision, device=device).close()
        coming, artifact = _begin(store, home, before, made, state, again=placed is None)
    with closing(open_encoder(artifact, precision=precision, device=device)) as opened:
        new = NewVectors(
            store, home.name, state, coming, opened, drop_missing=drop_missing, progress=progress
        )
        report = _switched(store, home, state, new, artifact.spec)
    take_away_others(home, store)
    return report


def _stay(store: Store, home: Home, precision: str) -> ReembedReport:
    """Leave the gallery with its encoder, and drop what was begun with another."""
    with store.read() as tx:
        settings = tx.settings()
    if precision != settings["precision"]:
        raise GalleryError(
            f"{home.name} belongs to this encoder already, and can't hold its vectors in two "
            f"precisions: leave --precision {precision} out, or build another gallery."
        )
    if COMING in settings:
        with store.write() as writer:
            writer.set_settings(_without_coming(writer.settings()))
            writer.drop_unfinished_vectors()
    take_away_others(home, store)
    with store.read() as tx:
        return _report(tx, switched=False, embedded=0, kept=0, dropped=(), threshold=tx.threshold())


def _begin(
    store: Store,
    home: Home,
    before: StoredEncoder,
    made: Artifact,
    state: dict[str, Any],
    *,
    again: bool,
) -> tuple[StoredEncoder, Artifact]:
    """Place the encoder, and name it as the one to come; keep what was made with it before."""
    spec = made.spec
    with store.write() as tx:
        require_same(tx.encoder, before.fingerprint)
        settings = tx.settings()
        coming = tx.know_encoder(fingerprint=spec.fingerprint, name=spec.name, dim=spec.dim)
        placed = None if again else coming_artifact(home, spec.fingerprint, tx)
        artifact = placed or place(home, made, tx)
        if COMING in settings:
            # int8 is fitted anew with each artifact: what another one made doesn't compare.
            same = settings[COMING] == state and (placed or state["precision"] != "int8")
            tx.drop_unfinished_vectors(but=coming if same else None)
        tx.set_settings(settings | {COMING: state})
    return coming, artifact


def _switched(
    store: Store, home: Home, state: dict[str, Any], new: NewVectors, spec: EncoderSpec
) -> ReembedReport:
    """Make what is missing, and switch once nothing is."""
    with store.read() as tx:
        kept = tx.count_items() - len(new.lacking(tx))
    tuned, tuned_after = None, -math.inf
    while True:
        new.embed_missing()
        with store.read() as tx:
            if new.embedded - tuned_after > _STALE_SHARE * tx.count_items():
                tuned = first_threshold(tx.seen_through(new.coming), spec)
                tuned_after = new.embedded
        report = _switch(store, home, state, new, tuned, kept)
        if report is not None:
            return report


def _switch(
    store: Store,
    home: Home,
    state: dict[str, Any],
    new: NewVectors,
    tuned: Tuned | None,
    kept: int,
) -> ReembedReport | None:
    """Switch, if every item that can be embedded has its vector; else return `None`."""
    with store.write() as tx:
        new.require_turn(tx)
        dropped: dict[int, FailedPhoto] = {}
        for item in new.lacking(tx):
            reason = new.unusable(item)
            if reason is None:  # it came meanwhile
                return None
            dropped[item.id] = FailedPhoto(item.path, reason)
        if dropped and len(dropped) == tx.count_items():
            raise nothing_left(home.name)
        if coming_artifact(home, new.coming.fingerprint, tx) is None:
            raise GalleryError(
                f"The new encoder in {home.path} was taken away or changed meanwhile: run reembed "
                "again."
            )
        tx.remove_items(list(dropped))
        for one in dropped.values():
            tx.record_failure(one.path, one.reason)
        tx.set_settings(_without_coming(tx.settings()) | {"precision": state["precision"]})
        tx.switch_encoder(new.coming)
        threshold = None if tuned is None else put_threshold(tx, tuned)
        return _report(
            tx,
            switched=True,
            embedded=new.embedded,
            kept=kept,
            dropped=tuple(dropped.values()),
            threshold=threshold,
        )


def _without_coming(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != COMING}


def _report(tx: Reader, **done: Any) -> ReembedReport:
    mine = tx.encoder
    return ReembedReport(
        encoder=mine.name,
        fingerprint=mine.fingerprint,
        dim=mine.dim,
        items=tx.count_items(),
        **done,
    )
