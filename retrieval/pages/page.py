"""The parts that pages are made of: safe HTML, the document around it, tables, figures, files.

Text becomes HTML in one place, `tag`: whatever is no `Html` is escaped there, so that labels and
paths, which anybody may have named, can't become markup.
"""

from __future__ import annotations

import html
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from retrieval.errors import LookalikeError

# Should something slip through after all, the browser neither runs nor fetches it.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = Path(__file__).with_name("page.css")
_VOID = frozenset({"img", "meta"})


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


class Number(str):
    """A figure, written out: in a table it goes to the right."""

    __slots__ = ()


def tag(element: str, /, *children: str, **attributes: str | None) -> Html:
    """Make an element.

    Args:
        element: The element's name.
        *children: What it contains; escaped, unless it is `Html`.
        **attributes: Escaped; a trailing underscore is dropped from a name and others become
            hyphens. `None` leaves one out.

    >>> tag("p", "1 < 2", tag("b", "!"), class_="quiet")
    '<p class="quiet">1 &lt; 2<b>!</b></p>'
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if element in _VOID:
        return Html(f"<{element}{given}>")
    return Html(f"<{element}{given}>{join(*children)}</{element}>")


def join(*parts: str) -> Html:
    """Put parts one after the other; escaped, unless they are `Html`."""
    return Html("".join(part if isinstance(part, Html) else html.escape(part) for part in parts))


def name(text: str, *, class_: str | None = None) -> Html:
    """Show a label or a path: its direction of writing stays its own affair."""
    return tag("bdi", text, class_=class_)


def page(title: str, *body: str) -> Html:
    """Make a whole document, with its style.

    Args:
        title: Its title and first heading.
        *body: What follows the heading.
    """
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(_STYLE.read_text(encoding="utf-8"))),
    )
    main = tag("main", tag("h1", title), *body)
    return Html(f"<!DOCTYPE html>\n{tag('html', head, tag('body', main), lang='en')}\n")


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str | int]]) -> Html:
    """Make a table: the first cell of a row heads it, and numbers go to the right.

    Args:
        caption: What it shows.
        header: The columns' names.
        rows: Cells; whole numbers and `Number` are numbers. There are as many as columns.
    """
    right = [
        bool(rows) and all(isinstance(row[place], (int, Number)) for row in rows)
        for place in range(len(header))
    ]

    def cell(element: str, value: str | int, *, number: bool, **attributes: str) -> Html:
        text = f"{value:,}" if isinstance(value, int) else value
        return tag(element, text, class_="number" if number else None, **attributes)

    body = [
        tag(
            "tr",
            cell("th", first, number=False, scope="row"),
            *(cell("td", one, number=isinstance(one, (int, Number))) for one in others),
        )
        for first, *others in rows
    ]
    heads = tag(
        "tr",
        *(
            cell("th", one, number=place > 0 and right[place], scope="col")
            for place, one in enumerate(header)
        ),
    )
    made = tag("table", tag("caption", caption), tag("thead", heads), tag("tbody", *body))
    return tag("div", made, class_="scroll")


def details(summary: str, *content: str) -> Html:
    """Fold something away that is long."""
    return tag("details", tag("summary", summary), *content)


def figure(picture: Html, *lines: str) -> Html:
    """Make a figure of a picture with a caption of some lines."""
    return tag("figure", picture, tag("figcaption", *(tag("span", line) for line in lines)))


def require_place(path: Path, *, outside: Path | None) -> None:
    """Make sure that a file can be written, before the work for it begins.

    Args:
        path: The file.
        outside: A gallery's folder, which nothing may be written into; `None` where none is yet.

    Raises:
        LookalikeError: It can't be written there.
    """
    target = path.resolve()
    if outside is not None and target.is_relative_to(outside.resolve()):
        raise LookalikeError(
            f"{path} lies in the gallery {outside}, whose files are its own: choose another place."
        )
    if target.exists() and not target.is_file():
        raise LookalikeError(f"{path} is there and is no file: name a file to write to.")
    if not target.parent.is_dir():
        raise LookalikeError(
            f"{path} can't be written, as there is no folder {target.parent}: make it first."
        )
    if not os.access(target.parent, os.W_OK):
        raise LookalikeError(f"{path} can't be written (Permission denied): choose another place.")


def write_page(path: Path, document: str, *, outside: Path | None) -> None:
    """Write a page, or another text; a file that is there is replaced in one step, or not at all.

    Args:
        path: The file.
        document: The text.
        outside: A gallery's folder, which nothing may be written into, if it is in one.

    Raises:
        LookalikeError: It can't be written there.
    """
    require_place(path, outside=outside)
    target = path.resolve()
    # A name on disk need not be text; a page must be.
    data = document.encode("utf-8", "backslashreplace")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as made:
            # Written by its own name, not by `tempfile`: a page is as readable as any other file.
            written = Path(made) / "page"
            written.write_bytes(data)
            written.replace(target)
    except OSError as error:
        raise LookalikeError(
            f"{path} can't be written ({error.strerror}): choose another place."
        ) from error
