"""What a user can mend, as exceptions whose text is one sentence: what, where, how to mend it."""

from __future__ import annotations


class LookalikeError(Exception):
    """Bad input or a bad state that the user can mend; on the command line, exit code 2."""


class ImageError(LookalikeError):
    """Bytes that can't be turned into pixels; the text says why, in words fit for a report."""


class GalleryError(LookalikeError):
    """A gallery that can't be created, opened or used as asked."""


class EncoderChanged(GalleryError):  # noqa: N818 - what happened, which asking again mends
    """A gallery that another process gave another encoder while this one was at work."""


class EncoderError(LookalikeError):
    """An encoder that can't be built, loaded or used with this gallery."""


class LabelsError(LookalikeError):
    """A label source (CSV) that can't be read; the text names the row and the column."""
