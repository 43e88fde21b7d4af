"""`POST /v1/identify`: who is in a photo."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, File, Query, UploadFile
from fastapi.responses import Response

from retrieval.asking_together import Ask
from retrieval.identification import Identification
from retrieval.rules import RuleName
from retrieval.service.answers import result
from retrieval.service.problems import documented
from retrieval.service.schemas import WHERE, Condition, Identifications
from retrieval.service.serving import Served
from retrieval.service.uploads import require_few, shown_name, unreadable

router = APIRouter(tags=["identify"])


@router.post(
    "/v1/identify",
    summary="Say who is in each photo",
    response_model=Identifications,
    responses=documented(400, 401, 403, 408, 413, 421, 422, 503),
)
async def identify(
    served: Served,
    images: Annotated[list[UploadFile], File(description="Photos, one part each.")],
    k: Annotated[int, Query(ge=1, le=1000, description="Nearest items to show.")] = 5,
    threshold: Annotated[
        float | None,
        Query(
            ge=0,
            le=2,
            allow_inf_nan=False,
            description="Match below this, instead of the gallery's threshold; a cosine distance "
            "unless `rule` says otherwise.",
        ),
    ] = None,
    rule: Annotated[
        Literal[RuleName, "verifier"] | None,
        Query(description="What makes the score that is compared with the threshold."),
    ] = None,
    where: Annotated[list[Condition] | None, Query(max_length=50, description=WHERE)] = None,
) -> Response:
    """Answer for each photo, in their order: the match or `unknown`, and the k nearest items.

    A photo that can't be read is told in `failed`; where none can be, the answer is a 422.
    """
    require_few(images, served)
    photos = [(await image.read(), shown_name(image)) for image in images]
    answers = await served.identify(photos, Ask(k, threshold, rule, where))
    read = [one for one in answers if isinstance(one, Identification)]
    failed = [one for one in answers if not isinstance(one, Identification)]
    if not read:
        raise unreadable(failed, "can't be used as a query")
    return result({"identifications": read, "failed": failed})
