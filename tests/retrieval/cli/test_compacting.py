"""`compact` and `--index`: a fresh index file of the kind asked for, and the same answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]
Ask = Callable[..., list[dict[str, Any]]]


def test_a_fresh_index_is_written_and_what_has_gone_is_purged(
    run: Run, ask_json: Ask, gallery_path: Path
) -> None:
    run("remove", 1, 2, 3, "-g", gallery_path, "--yes")
    told = run("compact", "-g", gallery_path).stdout.splitlines()
    assert told[0] == "index: a new one written, exact8"
    assert told[1].startswith("store: 3 vectors purged, ")
    (again,) = ask_json("compact", "-g", gallery_path)
    assert again == {"generation": False, "purged": 0, "freed": 0}
    assert "as fresh as can be" in run("compact", "-g", gallery_path).stdout
    assert run("check", "-g", gallery_path).exit_code == 0


@pytest.mark.parametrize("command", [("compact",), ("build-index", "{photos}")])
def test_the_kind_asked_for_is_kept(
    run: Run, ask_json: Ask, gallery_path: Path, photos: Path, command: tuple[str, ...]
) -> None:
    photo = photos / "red" / "0.png"
    (before,) = ask_json("query", photo, "-g", gallery_path)
    arguments = [part.format(photos=photos) for part in command]
    assert run(*arguments, "-g", gallery_path, "--index", "ivf").exit_code == 0
    run("compact", "-g", gallery_path)
    (info,) = ask_json("info", "-g", gallery_path)
    assert info["index"] == {"asked": "ivf", "kind": "ivf16", "items": 15, "changes": 0}
    (path,) = (gallery_path / "index").glob("*.ivf")
    (after,) = ask_json("query", photo, "-g", gallery_path)
    assert after == before
    assert run("check", "-g", gallery_path).exit_code == 0
    path.write_bytes(path.read_bytes()[:-1])
    assert "checksum" in run("check", "-g", gallery_path).stdout
