"""Pages: text can't become markup, and a file is replaced wholly or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import LookalikeError
from retrieval.pages.page import Html, figure, join, name, page, table, tag, write_page


@given(st.text(), st.text())
def test_whatever_is_no_html_is_escaped(text: str, value: str) -> None:
    made = tag("p", text, title=value)
    inside = made.removeprefix('<p title="').removesuffix("</p>")
    assert made == f'<p title="{inside}</p>'
    assert not set(inside.replace('">', "", 1)) & set("<>\"'")


def test_html_stays_html_and_text_beside_it_does_not() -> None:
    assert join(tag("b", "&"), "<b>") == "<b>&amp;</b>&lt;b&gt;"
    assert tag("img", src="a", alt=None, data_x="'") == '<img src="a" data-x="&#x27;">'
    assert name("<i>") == "<bdi>&lt;i&gt;</bdi>"


def test_a_table_has_a_caption_and_heads() -> None:
    made = table("c", ("a", "b"), [("<x>", 1234), ("y", "z")])
    assert "<caption>c</caption>" in made
    assert made.count('scope="col"') == made.count('scope="row"') == 2
    assert '<th scope="row">&lt;x&gt;</th><td class="number">1,234</td>' in made


def test_a_page_keeps_the_network_out() -> None:
    made = page("<t>", figure(tag("img", alt="", src="data:,"), "one", "<two>"))
    assert "default-src 'none'" in made.replace("&#x27;", "'")
    assert "<title>&lt;t&gt;</title>" in made
    assert "<span>&lt;two&gt;</span>" in made
    assert "prefers-color-scheme: dark" in made


def test_a_page_replaces_the_file_that_is_there(tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    out.write_text("old")
    other = tmp_path / "other.txt"
    other.touch()
    write_page(out, Html("new \udce9"), outside=tmp_path / "gallery")
    assert out.read_text(encoding="utf-8") == "new \\udce9"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.txt", "page.html"]
    assert out.stat().st_mode == other.stat().st_mode


@pytest.mark.parametrize("inside", ["page.html", "gallery.db", "encoder/../page.html"])
def test_no_page_is_written_into_a_gallery(inside: str, tmp_path: Path) -> None:
    gallery = tmp_path / "gallery"
    (gallery / "encoder").mkdir(parents=True)
    (gallery / "gallery.db").write_text("store")
    link = tmp_path / "link.html"
    link.symlink_to(gallery / inside)
    for out in (gallery / inside, link):
        with pytest.raises(LookalikeError, match="lies in the gallery"):
            write_page(out, Html("x"), outside=gallery)
    assert (gallery / "gallery.db").read_text() == "store"
    assert sorted(path.name for path in gallery.iterdir()) == ["encoder", "gallery.db"]


def test_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for out in (tmp_path, pipe):
        with pytest.raises(LookalikeError, match="is no file"):
            write_page(out, Html("x"), outside=tmp_path / "gallery")
    with pytest.raises(LookalikeError, match="can't be written"):
        write_page(tmp_path / "nowhere" / "page.html", Html("x"), outside=tmp_path / "gallery")
    assert pipe.is_fifo()
