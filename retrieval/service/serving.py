"""What the routes share: the open gallery, and who does the work for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from PIL import Image

from retrieval.asking_together import Ask, Prepared
from retrieval.embedding import FailedPhoto
from retrieval.errors import ImageError, LookalikeError
from retrieval.gallery import Gallery
from retrieval.identification import Identification
from retrieval.place import Place
from retrieval.service.batching import Batcher
from retrieval.service.jobs import Jobs
from retrieval.service.metrics import Metrics
from retrieval.service.problems import busy
from retrieval.service.settings import Settings
from retrieval.service.thumbnails import Thumbnails

_T = TypeVar("_T")
# Where in the gallery's folder the service keeps jobs and the last evaluation.
WORK = "service"


class Serving:
    """A gallery that is being served by this process."""

    def __init__(self, place: Place, home: Path, settings: Settings, metrics: Metrics) -> None:
        """Open nothing yet.

        Args:
            place: Where the gallery is.
            home: The folder of its files on this machine.
            settings: How it is served.
            metrics: What is counted.
        """
        self.place = place
        self.path = home
        self.settings = settings
        self.metrics = metrics
        self.ready = False
        self.stopping = False
        self.jobs = Jobs(home / WORK / "jobs")
        limits = settings.limits
        self.thumbnails = Thumbnails(limits)
        self._decoding = ThreadPoolExecutor(limits.decoders, thread_name_prefix="decode")
        # One at a time: SQLite takes one writer, and a full-size photo takes memory.
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._batcher = Batcher[tuple[Prepared, Ask], Identification](
            self._answer,
            largest=limits.batch,
            seconds=limits.batch_seconds,
            room=limits.photos,
            seen=metrics.batch.observe,
            told=metrics.waiting.set,
        )

    async def open(self) -> None:
        """Open the gallery, start its encoder, and be ready.

        Raises:
            LookalikeError: It can't be opened.
        """
        self.gallery = await asyncio.to_thread(
            Gallery.open, self.place, device=self.settings.device
        )
        await asyncio.to_thread(self._warm_up)
        self._batcher.start()
        self.ready = True

    async def close(self) -> None:
        """Finish what was taken, and close the gallery."""
        self.stopping = True
        self.ready = False
        await self._batcher.close()
        self._decoding.shutdown(cancel_futures=True)
        self._writing.shutdown(cancel_futures=True)
        self.jobs.close()
        self.gallery.close()

    async def identify(
        self, photos: Sequence[tuple[bytes, str | None]], ask: Ask
    ) -> list[Identification | FailedPhoto]:
        """Identify photos, in their order; each is the bytes of a file, and its name.

        Raises:
            ProblemError: There are too many waiting, or it took too long.
            GalleryError: There is no verifier, if it is asked for.
        """
        seconds = self.settings.limits.seconds
        try:
            with self._batcher.room(len(photos)):
                async with asyncio.timeout(seconds):
                    return await asyncio.gather(
                        *(self._identify(data, name, ask) for data, name in photos)
                    )
        except TimeoutError as error:
            raise busy(f"No answer was found within {seconds:g} seconds: try again.") from error

    def backlog(self) -> float:
        """Return in how many seconds the photos that wait will be identified."""
        return self._batcher.backlog()

    async def write(self, change: Callable[[], _T]) -> _T:
        """Run what changes the gallery and takes long, in turn with others of its kind."""
        return await asyncio.get_running_loop().run_in_executor(self._writing, change)

    async def _identify(
        self, data: bytes, name: str | None, ask: Ask
    ) -> Identification | FailedPhoto:
        loop = asyncio.get_running_loop()
        limit = self.settings.limits.pixels
        try:
            with self._batcher.coming():
                prepared = await loop.run_in_executor(
                    self._decoding,
                    lambda: self.gallery.prepare(data, name=name, max_pixels=limit),
                )
        except ImageError as error:
            return FailedPhoto(name or "", str(error))
        return await self._batcher.submit((prepared, ask))

    def _answer(
        self, batch: Sequence[tuple[Prepared, Ask]]
    ) -> Sequence[Identification | Exception]:
        try:
            return self.gallery.identify_prepared(
                [photo for photo, _ in batch], [ask for _, ask in batch]
            )
        except LookalikeError as error:
            if len(batch) == 1:
                return [error]
        # One that asks for what isn't there doesn't cost the others their answer.
        return [self._answer([one])[0] for one in batch]

    def _warm_up(self) -> None:
        """Let the encoder compile for one photo and for several before anybody waits for it."""
        photo = self.gallery.prepare(_small_photo())
        for count in (1, 2):
            self.gallery.identify_prepared([photo] * count, [Ask(k=1)] * count)


def _small_photo() -> bytes:
    """Return the file of a picture of nothing."""
    made = BytesIO()
    Image.new("RGB", (8, 8)).save(made, "PNG")
    return made.getvalue()


async def serving(request: Request) -> Serving:
    """Return what serves this request; async, as FastAPI would call a function in a thread.

    Raises:
        ProblemError: It is not ready yet, or not any more.
    """
    found: Serving = request.app.state.serving
    if not found.ready:
        raise busy("The service is starting or stopping: try again in a moment.")
    return found


Served = Annotated[Serving, Depends(serving)]
