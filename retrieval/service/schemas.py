"""What goes over the wire, for the OpenAPI document: the fields of docs/json.md, with examples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Condition = Annotated[str, StringConstraints(max_length=1000)]
WHERE = "Only items that meet all of these conditions: `label=Apple`, `price<3`, `path~=*/2024/*`."
NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$"
"""A label is one line of text."""
_ITEM = {
    "id": 86,
    "label": "Granny-Smith",
    "source_label": "Granny-Smith",
    "path": "/photos/Granny-Smith/041.jpg",
    "content_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "width": 348,
    "height": 348,
    "file_size": 21_311,
    "mtime_ns": 1_700_000_000_000_000_000,
    "metadata": {"name": "041.jpg"},
    "added_at": "2026-11-24T10:00:00Z",
}


def examples(*shown: dict[str, Any]) -> ConfigDict:
    """Show examples of a model."""
    return ConfigDict(json_schema_extra={"examples": list(shown)})


class Problem(BaseModel):
    """What went wrong, after RFC 9457."""

    model_config = examples(
        {
            "type": "about:blank",
            "title": "Unprocessable Content",
            "status": 422,
            "detail": "cat.svg can't be used as a query: not an image in a format we read.",
        }
    )

    type: str = Field(description="Always `about:blank`: the status says it.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="One sentence: what, and how to mend it.")
    errors: list[FieldError] | None = Field(
        default=None, description="Of a request with wrong fields: each of them."
    )
    failed: list[FailedPhoto] | None = Field(
        default=None, description="Of photos that can't be read: each of them."
    )
    job: str | None = Field(default=None, description="The job that is in the way.")


class FieldError(BaseModel):
    """A field that can't be used."""

    where: str = Field(description="The field.")
    what: str = Field(description="What is wrong with it.")


class FailedPhoto(BaseModel):
    """A photo that could not be used."""

    path: str = Field(description="The name it was sent under; empty without one.")
    reason: str = Field(description="Why, in one line.")


class NearestItem(BaseModel):
    """One of the items nearest to a query."""

    id: int
    label: str | None = Field(description="Null when it is an identity of its own.")
    distance: float = Field(ge=0, le=2, description="Cosine distance to the query.")
    path: str = Field(description="Where the server read its photo.")
    metadata: dict[str, Any]


class Identification(BaseModel):
    """The answer to one photo: what `lookalike query --json` prints."""

    query: str | None = Field(description="The name it was sent under.")
    decision: Literal["match", "unknown"] | None = Field(
        description="Null when there is no threshold to decide by."
    )
    label: str | None = Field(description="The label matched; null too when that item has none.")
    item_id: int | None = Field(description="The nearest item of a match.")
    distance: float | None = Field(description="The nearest item's cosine distance, in [0, 2].")
    next_distance: float | None = Field(description="The same of the next identity.")
    next_label: str | None
    margin: float | None = Field(description="`next_distance` - `distance`.")
    rule: str = Field(description="What makes the score.")
    score: float | None = Field(description="What is compared with the threshold.")
    threshold: float | None = Field(description="A match needs `score < threshold`.")
    p_value: float | None = Field(description="Bound on the share of strangers this close.")
    note: str | None = Field(description="Why there is no decision, or one to doubt.")
    items: list[NearestItem] = Field(description="The k nearest items, nearest first.")
    where: list[str] = Field(description="The conditions items had to meet.")
    among: int | None = Field(description="How many items meet them; null without conditions.")


class Identifications(BaseModel):
    """The answers to some photos, in their order."""

    model_config = examples(
        {
            "identifications": [
                {
                    "query": "shelf.jpg",
                    "decision": "match",
                    "label": "Granny-Smith",
                    "item_id": 86,
                    "distance": 0.0855,
                    "next_distance": 0.1937,
                    "next_label": "Mango",
                    "margin": 0.1082,
                    "rule": "margin",
                    "score": 0.4887,
                    "threshold": 0.539,
                    "p_value": 0.013,
                    "note": None,
                    "items": [
                        {
                            "id": 86,
                            "label": "Granny-Smith",
                            "distance": 0.0855,
                            "path": "/photos/Granny-Smith/041.jpg",
                            "metadata": {},
                        }
                    ],
                    "where": [],
                    "among": None,
                }
            ],
            "failed": [],
        }
    )

    identifications: list[Identification]
    failed: list[FailedPhoto] = Field(description="Photos that can't be read, left out above.")


class Item(BaseModel):
    """A reference photo: what `lookalike list --json` prints."""

    model_config = examples(_ITEM)

    id: int
    label: str | None
    source_label: str | None = Field(description="What the folder, CSV or upload said last.")
    path: str = Field(description="Where the server read its photo.")
    content_hash: str = Field(description="SHA-256 of the file's bytes.")
    width: int
    height: int
    file_size: int
    mtime_ns: int
    metadata: dict[str, Any] = Field(description="Of an upload: `name`, what it was sent under.")
    added_at: str


class Items(BaseModel):
    """A page of items, in order of id."""

    model_config = examples({"items": [_ITEM], "total": 2640, "next": 86})

    items: list[Item]
    total: int = Field(description="Items that meet the conditions, on all pages.")
    next: int | None = Field(description="What to say as `after` for the next page; null at last.")


class Duplicate(BaseModel):
    """A photo that is in the gallery already."""

    path: str = Field(description="The name it was sent under.")
    item_id: int


class Added(BaseModel):
    """What adding photos did."""

    model_config = examples(
        {"added": 1, "items": [_ITEM], "duplicates": [], "failed": []},
    )

    added: int
    items: list[Item] = Field(description="The new items, in the order of the photos.")
    duplicates: list[Duplicate] = Field(description="Photos left out, being there already.")
    failed: list[FailedPhoto] = Field(description="Photos that could not be read.")


class Relabelling(BaseModel):
    """Another label for an item."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"label": "Golden-Delicious"}]},
    )

    label: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] | None = Field(
        max_length=500,
        pattern=NO_CONTROLS,
        description="Null makes the item an identity of its own.",
    )


class LabelCount(BaseModel):
    """A label with its items."""

    label: str
    items: int


class Labels(BaseModel):
    """The labels of a gallery."""

    model_config = examples({"labels": [{"label": "Granny-Smith", "items": 41}], "unlabelled": 0})

    labels: list[LabelCount] = Field(description="In alphabetical order.")
    unlabelled: int = Field(description="Items without a label.")


class RequestLimits(BaseModel):
    """What a request may bring."""

    bytes: int = Field(description="Of its body.")
    files: int = Field(description="Photos in it.")
    pixels: int = Field(description="Width × height of a photo.")


class GalleryState(BaseModel):
    """What is served, and what this client may do."""

    model_config = examples(
        {
            "name": "groceries",
            "items": 2640,
            "labels": 81,
            "unlabelled": 0,
            "encoder": "efficientnet_lite0",
            "dim": 1280,
            "seq": 14,
            "may_write": True,
            "version": "0.1.0",
            "limits": {"bytes": 67_108_864, "files": 32, "pixels": 50_000_000},
        }
    )

    name: str = Field(description="The gallery's folder, without where it lies.")
    items: int
    labels: int
    unlabelled: int = Field(description="Items without a label.")
    encoder: str
    dim: int
    seq: int = Field(description="Writes so far: a page whose number is older shows the past.")
    may_write: bool = Field(description="Whether the token allows changes.")
    version: str = Field(description="Of lookalike.")
    limits: RequestLimits


class Health(BaseModel):
    """How the service is."""

    model_config = examples({"status": "ok"})

    status: Literal["ok"]
