"""`audit`: what it prints, the page it writes, and that its advice mends what it found."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from retrieval.cli import main

Run = Callable[..., Result]
Ask = Callable[..., list[dict[str, Any]]]

HOSTILE = "\"><script>alert(1)</script><img src=https://example.org/x onerror='x'>"


@pytest.fixture
def audited(run: Run, gallery_path: Path, photos: Path) -> Path:
    """A gallery with a mislabelled item, whose label is hostile, and an unlabelled copy."""
    for number in (0, 1):
        path = photos / "red" / f"{number}.png"
        assert run("relabel", "--path", path, "--to", HOSTILE, "-g", gallery_path).exit_code == 0
    path = photos / "green" / "0.png"
    assert run("relabel", "--path", path, "--to", "blue", "-g", gallery_path).exit_code == 0
    copy = photos.parent / "<b>copy & paste.png"
    shutil.copyfile(photos / "blue" / "2.png", copy)
    assert run("add", copy, "-g", gallery_path, "--allow-duplicates").exit_code == 0
    return gallery_path


class Page(HTMLParser):
    """What a page holds: its elements, and whether each that opens is closed."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(document)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in {"img", "meta"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_it_tells_the_worst_first(run: Run, ask_json: Ask, audited: Path) -> None:
    (found,) = ask_json("audit", "-g", audited)
    said = run("audit", "-g", audited).stdout
    assert found["suspects"]
    scores = [one["score"] for one in found["suspects"]]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > found["suspicious_above"]
    first = found["suspects"][0]
    line = next(
        line for line in said.splitlines() if line.lstrip().startswith(f"{first['item']['id']} ")
    )
    for shown in (first["item"]["label"], first["suggested_label"], first["item"]["path"]):
        assert shown in line
    for number in (first["score"], first["mate_distance"], first["other_distance"]):
        assert f"{number:.4f}" in line
    assert f"likely mislabelled: {found['n_suspects']}" in said
    assert f"near-duplicates across labels (below 0.05): {found['n_duplicates']}" in said


def test_the_json_is_what_the_docs_say(ask_json: Ask, audited: Path) -> None:
    (found,) = ask_json("audit", "-g", audited, "--limit", 1)
    docs = (Path(__file__).parents[3] / "docs" / "json.md").read_text(encoding="utf-8")
    section = docs.split("## audit: an `Audit`")[1].split("\n## ")[0]
    for record in (
        found,
        found["suspects"][0],
        found["duplicates"][0],
        found["suspects"][0]["item"],
    ):
        for field in record:
            assert f"`{field}`" in section, field
    assert (len(found["suspects"]), len(found["duplicates"])) == (1, 1)
    assert found["n_suspects"] > 1


def test_its_advice_mends_what_it_found(run: Run, ask_json: Ask, audited: Path) -> None:
    for _ in range(10):
        said = run("audit", "-g", audited).stdout
        advice = [line.strip() for line in said.splitlines() if line.startswith("  lookalike ")]
        if not advice:
            break
        (before,) = ask_json("audit", "-g", audited)
        assert run(*shlex.split(advice[-1])[1:]).exit_code == 0
        (after,) = ask_json("audit", "-g", audited)
        which = "duplicates" if before["duplicates"] else "suspects"
        assert after[which][:1] != before[which][:1]
    assert "near-duplicates across labels (below 0.05): none" in said


def test_an_unlabelled_copy_is_to_get_the_label(run: Run, ask_json: Ask, audited: Path) -> None:
    (found,) = ask_json("audit", "-g", audited)
    pair = found["duplicates"][0]
    assert (pair["first"]["label"], pair["second"]["label"]) == ("blue", None)
    assert pair["same_bytes"] is True
    advice = f"lookalike relabel {pair['second']['id']} --to blue -g {shlex.quote(str(audited))}"
    assert f"  {advice}\n" in run("audit", "-g", audited).stdout


def test_the_page_is_one_file_that_needs_nothing(
    run: Run, ask_json: Ask, audited: Path, tmp_path: Path
) -> None:
    out = tmp_path / "audit.html"
    result = run("audit", "-g", audited, "--out", out)
    assert result.exit_code == 0
    assert f"{out} shows them with their photos\n" in result.stdout
    page = Page(out.read_text(encoding="utf-8"))
    (found,) = ask_json("audit", "-g", audited)
    assert len(page.all("img")) == 3 * found["n_suspects"] + 2 * found["n_duplicates"]
    assert len(page.all("article")) == found["n_suspects"] + found["n_duplicates"]
    for image in page.all("img"):
        assert image["alt"]
        assert (image["src"] or "").startswith("data:image/jpeg;base64,")
    used = {name for name, _ in page.elements}
    assert not used & {"script", "link", "iframe", "object", "embed", "form", "base", "a"}
    for _, attributes in page.elements:
        assert not set(attributes) & {"href", "srcset", "onerror", "onload", "style"}
    assert [len(page.all(heading)) for heading in ("h1", "h2")] == [1, 2]
    assert len(page.all("html")) == 1
    assert page.all("html")[0]["lang"] == "en"
    style = out.read_text(encoding="utf-8").split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_hostile_labels_and_paths_stay_text(run: Run, audited: Path, tmp_path: Path) -> None:
    out = tmp_path / "audit.html"
    assert run("audit", "-g", audited, "--out", out).exit_code == 0
    page = Page(out.read_text(encoding="utf-8"))
    assert HOSTILE in page.text
    assert any("<b>copy & paste.png" in text for text in page.text)
    assert "https://example.org" not in "".join(
        value or ""
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name != "alt"
    )


def test_photos_that_are_gone_leave_notes(run: Run, audited: Path, photos: Path) -> None:
    shutil.rmtree(photos)
    out = photos.parent / "audit.html"
    assert run("audit", "-g", audited, "--out", out).exit_code == 0
    page = Page(out.read_text(encoding="utf-8"))
    missing = [one for one in page.all("div") if one.get("class") == "missing"]
    assert len(missing) == len(page.all("figure")) - len(page.all("img"))
    assert missing
    assert any("No such file" in text for text in page.text)


def test_a_gallery_whose_name_is_no_text_can_be_audited(
    run: Run, audited: Path, tmp_path: Path
) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    try:
        shutil.copytree(audited, odd)
    except OSError:
        pytest.skip("this file system knows only names that are text")
    out = Path(f"{odd}.html")
    result = run("audit", "-g", odd, "--out", out)
    assert result.exit_code == 0
    assert "lookalike relabel" in result.stdout
    assert "Audit of caf" in out.read_text(encoding="utf-8")


def test_json_and_a_page_go_together(run: Run, audited: Path, tmp_path: Path) -> None:
    out = tmp_path / "audit.html"
    result = run("audit", "-g", audited, "--json", "--out", out)
    assert json.loads(result.stdout)["items"] == 16
    assert out.exists()


def test_an_empty_gallery_makes_a_page_too(run: Run, gallery_path: Path, tmp_path: Path) -> None:
    assert run("remove", "--label", "red", "--yes", "-g", gallery_path).exit_code == 0
    for label in ("green", "blue"):
        run("remove", "--label", label, "--yes", "-g", gallery_path)
    out = tmp_path / "audit.html"
    result = run("audit", "-g", gallery_path, "--out", out)
    assert result.exit_code == 0
    assert "likely mislabelled: none\n" in result.stdout
    assert "lookalike" not in result.stdout
    assert Page(out.read_text(encoding="utf-8")).text.count("None found.") == 2


def test_it_never_writes_into_the_gallery(
    refusal: Callable[..., str],
    contents: Callable[[Path], dict[str, str]],
    audited: Path,
) -> None:
    before = contents(audited)
    said = refusal("audit", "-g", audited, "--out", audited / "gallery.db")
    assert "choose another place" in said
    assert contents(audited) == before


def test_its_default_is_the_one_of_the_python_api(run: Run) -> None:
    from retrieval.evaluation.duplicates import DUPLICATES_BELOW

    option = next(one for one in main.commands["audit"].params if one.name == "duplicates_below")
    assert option.default == DUPLICATES_BELOW
