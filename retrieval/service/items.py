"""`/v1/items`: the gallery's items, looked at, added, relabelled, removed, restored."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Form, Path, Query, Request, UploadFile
from fastapi.responses import Response

from db import Item as StoredItem
from retrieval.errors import ImageError
from retrieval.service.answers import result
from retrieval.service.problems import ProblemError, documented
from retrieval.service.schemas import (
    NO_CONTROLS,
    WHERE,
    Added,
    Condition,
    Item,
    Items,
    Relabelling,
)
from retrieval.service.serving import Served, Serving
from retrieval.service.thumbnails import Side, name
from retrieval.service.uploads import add_uploads, require_few, shown_name, unreadable

router = APIRouter(tags=["items"])
ItemId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The item's number.")]


@router.get(
    "/v1/items",
    summary="List items",
    response_model=Items,
    responses=documented(401, 421, 422, 503),
)
def list_items(
    served: Served,
    q: Annotated[
        str,
        Query(
            max_length=200,
            description="Only items with this text in label, file name or metadata, whatever the "
            "case of ASCII letters.",
        ),
    ] = "",
    label: Annotated[str | None, Query(max_length=500, description="Only of this label.")] = None,
    where: Annotated[list[Condition] | None, Query(max_length=50, description=WHERE)] = None,
    after: Annotated[
        int, Query(ge=0, le=2**63 - 1, description="Only items with a larger id.")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=500, description="At most so many.")] = 100,
) -> Response:
    """Return one page of items in order of id; `next` is what to say as `after` for another."""
    items, total = served.gallery.find_items(
        q, label=label, where=where, after=after, limit=limit + 1
    )
    page, more = items[:limit], len(items) > limit
    return result({"items": page, "total": total, "next": page[-1].id if more else None})


@router.post(
    "/v1/items",
    summary="Add photos",
    status_code=201,
    response_model=Added,
    responses={
        200: {"model": Added, "description": "Nothing new: all of them are there already."},
        **documented(400, 401, 403, 408, 413, 421, 422, 503),
    },
)
async def add_items(
    served: Served,
    images: Annotated[list[UploadFile], File(description="Photos, one part each.")],
    label: Annotated[
        str | None,
        Form(
            max_length=500,
            pattern=NO_CONTROLS,
            description="What all of them show; empty or left out for none.",
        ),
    ] = None,
) -> Response:
    """Make items of photos; once this answers they are on disk for good.

    What is kept is each photo's upright pixels, written anew without any metadata. A photo that is
    there already is told in `duplicates`, one that can't be read in `failed`; where none can be
    read, the answer is a 422.
    """
    require_few(images, served)
    photos = [(await image.read(), shown_name(image)) for image in images]
    limit = served.settings.limits.pixels
    said = (label or "").strip() or None
    done = await served.write(
        lambda: add_uploads(
            served.gallery,
            photos,
            label=said,
            max_pixels=limit,
            stopping=lambda: served.stopping,
        )
    )
    if done.failed and not done.items and not done.duplicates:
        raise unreadable(done.failed, "can't be added")
    return result(done, status=201 if done.items else 200)


@router.get(
    "/v1/items/{item_id}",
    summary="Show an item",
    response_model=Item,
    responses=documented(401, 404, 421, 422, 503),
)
def show_item(served: Served, item_id: ItemId) -> Response:
    """Return one item."""
    return result(_item(served, item_id))


@router.patch(
    "/v1/items/{item_id}",
    summary="Give an item another label",
    response_model=Item,
    responses=documented(400, 401, 403, 404, 408, 413, 421, 422, 503),
)
def relabel_item(served: Served, item_id: ItemId, relabelling: Relabelling) -> Response:
    """Set an item's label, and return the item."""
    if not served.gallery.relabel([item_id], relabelling.label):
        raise _missing(item_id)
    return result(_item(served, item_id))


@router.delete(
    "/v1/items/{item_id}",
    summary="Remove an item",
    response_model=Item,
    responses=documented(401, 403, 404, 421, 422, 503),
)
def remove_item(served: Served, item_id: ItemId) -> Response:
    """Remove an item at once and durably, and return what it was.

    `POST /v1/items/{item_id}/restore` undoes it.
    """
    item = _item(served, item_id)
    if not served.gallery.remove([item_id]):
        raise _missing(item_id)
    return result(item)


@router.post(
    "/v1/items/{item_id}/restore",
    summary="Undo the removal of an item",
    response_model=Item,
    responses=documented(401, 403, 409, 421, 422, 503),
)
def restore_item(served: Served, item_id: ItemId) -> Response:
    """Bring a removed item back as it was, under its own id; nothing is encoded again.

    409: it was not removed, its photo was added again, or the gallery got another encoder since.
    """
    return result(served.gallery.restore(item_id))


@router.get(
    "/v1/items/{item_id}/thumbnail",
    summary="Show an item's photo, small",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "It is what the client has."},
        **documented(401, 404, 421, 422, 503),
    },
)
def show_thumbnail(
    request: Request,
    served: Served,
    item_id: ItemId,
    side: Annotated[Side, Query(description="Pixels of the longer side, at most.")] = Side.MEDIUM,
) -> Response:
    """Return a JPEG made anew from the photo's pixels.

    404: there is no such item, or its photo is not where it was or not what it was.
    """
    item = _item(served, item_id)
    headers = {"ETag": f'"{name(item, side)}"', "Cache-Control": "private, no-cache"}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    try:
        picture = served.thumbnails.of(item, side)
    except ImageError as error:
        raise ProblemError(404, f"Item {item_id} has no photo to show: {error}.") from error
    return Response(picture, headers=headers, media_type="image/jpeg")


def _item(served: Serving, item_id: int) -> StoredItem:
    found = served.gallery.items(ids=[item_id])
    if not found:
        raise _missing(item_id)
    return found[0]


def _missing(item_id: int) -> ProblemError:
    return ProblemError(404, f"There is no item {item_id}: GET /v1/items lists what there is.")
