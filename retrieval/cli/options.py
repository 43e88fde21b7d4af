"""Options and arguments that several commands share."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import click

from retrieval.place import Place

if TYPE_CHECKING:
    from retrieval.paths import AnyPath


class Distance(click.ParamType[float]):
    """A cosine distance."""

    name = "distance"

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number; refuse one outside [0, 2]."""
        try:
            distance = float(value)
        except ValueError:
            distance = math.nan
        if not 0 <= distance <= 2:  # NaN too
            self.fail(f"{value!r} is no cosine distance: say a number from 0 to 2", param, ctx)
        return distance


class Distances(click.ParamType[list[float]]):
    """Cosine distances, parted by commas."""

    name = "distances"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[float]:
        """Return the numbers."""
        return [Distance().convert(text, param, ctx) for text in value.split(",")]


class GalleryPlace(click.ParamType[Place]):
    """Where a gallery is."""

    name = "gallery"

    def convert(
        self, value: str | Place, param: click.Parameter | None, ctx: click.Context | None
    ) -> Place:
        """Return the place; refuse a URL that no gallery has."""
        del param, ctx
        return Place.of(value)


class PhotoPath(click.Path):
    """A photo, a folder of photos or a list of them: on disk, or by URL in an object store."""

    def coerce_path_result(self, value: str | os.PathLike[str]) -> AnyPath:
        """Return a path that keeps a URL as it is."""
        from retrieval.paths import any_path

        return any_path(value)


gallery = click.option(
    "-g",
    "--gallery",
    "place",
    type=GalleryPlace(),
    required=True,
    help="The gallery: a folder, or postgresql://USER@HOST/NAME.",
)
gallery_or_not = click.option(
    "-g",
    "--gallery",
    "place",
    type=GalleryPlace(),
    help="The gallery: a folder, or postgresql://USER@HOST/NAME.",
)
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for machines (docs/json.md)."
)
_RULES = ["nearest", "margin", "rivals", "ratio", "nac"]
rule = click.option(
    "--rule",
    type=click.Choice(_RULES),
    help="What makes the score that is compared with the threshold (docs/rules.md).",
)
rule_of_query = click.option(
    "--rule",
    type=click.Choice([*_RULES, "verifier"]),
    help="What makes the score that is compared with the threshold (docs/rules.md); verifier needs "
    "train-verifier, and --threshold for a verdict.",
)
allow_duplicates = click.option(
    "--allow-duplicates", is_flag=True, help="Store photos whose exact bytes are stored already."
)
device = click.option(
    "--device",
    type=click.Choice(["cpu", "cuda", "mps"]),
    default="cpu",
    show_default=True,
    help="Where the encoder runs; a GPU needs torch.",
)
index = click.option(
    "--index",
    metavar="INDEX",
    help="How the gallery is searched: auto, by size; exact; ivf (docs/search.md); in a database "
    "also hnsw or milvus://HOST:PORT (docs/scaling.md). Kept.",
)
when_down = click.option(
    "--when-down",
    type=click.Choice(["fail", "exact"]),
    help="What to do while a Milvus server does not answer: fail (the default), or compare all "
    "vectors. Kept.",
)
yes = click.option("-y", "--yes", is_flag=True, help="Don't ask.")
where = click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="Only items that meet it: label=Apple, brand!=Acme, 'price<3', 'path~=*/2024/*'; several "
    "--where must all be met (docs/filters.md).",
)


def some_items(command: Any) -> Any:
    """Give a command the four ways to say which items: ids, a label, a path, conditions."""
    for decorate in (
        where,
        click.option("--path", type=PhotoPath(), help="The item read from there."),
        click.option("--label", help="All items of this label."),
        click.argument("ids", type=int, nargs=-1),
    ):
        command = decorate(command)
    return command
