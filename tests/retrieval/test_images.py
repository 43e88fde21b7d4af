from __future__ import annotations

import random
import struct
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, JpegImagePlugin

from retrieval.errors import ImageError
from retrieval.images import IMAGE_SUFFIXES, MAX_PIXELS, Photo, decode

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
ORIENTATION = 0x0112
XMP_TURN = b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'

# How a camera that writes this EXIF orientation stores an upright scene.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def encode(
    image: Image.Image, kind: str, *, black_second: bool = False, **options: object
) -> bytes:
    buffer = BytesIO()
    if black_second:
        options |= {"save_all": True, "append_images": [Image.new("RGB", image.size)]}
    if kind == "HEIF":
        pillow_heif.from_pillow(image).save(buffer, chroma=444, **options)
    else:
        image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(tags: dict[int, object]) -> bytes:
    block = Image.Exif()
    block.update(tags)
    return block.tobytes()


def scene(width: int = 96, height: int = 64) -> Image.Image:
    """Four quarters (red, green / blue, white), so that every orientation looks different."""
    image = Image.new("RGB", (width, height), WHITE)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def pixels(photo: Photo) -> list[list[int]]:
    assert photo.image.mode == "RGB"
    return np.asarray(photo.image).reshape(-1, 3).tolist()


def assert_shows_scene(photo: Photo, size: tuple[int, int] = (96, 64)) -> None:
    assert photo.image.mode == "RGB"
    assert (photo.width, photo.height) == photo.image.size == size
    assert_close(photo.image, scene(*size))


def assert_close(image: Image.Image, expected: Image.Image) -> None:
    """Compare the middles of the quarters, where lossy codecs are near exact."""
    assert image.size == expected.size
    width, height = image.size
    columns, rows = [width // 4, 3 * width // 4], [height // 4, 3 * height // 4]
    got, wanted = (np.asarray(side)[np.ix_(rows, columns)] for side in (image, expected))
    assert np.allclose(got, wanted, atol=8), got.tolist()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


SAMPLES = {
    "JPEG": encode(scene(), "JPEG", quality=95),
    "JPEG progressive": encode(scene(), "JPEG", quality=95, progressive=True),
    "JPEG CMYK": encode(scene().convert("CMYK"), "JPEG", quality=95),
    "MPO": encode(scene(), "MPO", quality=95, black_second=True),
    "PNG": encode(scene(), "PNG", exif=exif({ORIENTATION: 1})),
    "PNG palette": encode(scene().quantize(8), "PNG"),
    "PNG RGBA": encode(scene().convert("RGBA"), "PNG"),
    "APNG": encode(scene(), "PNG", black_second=True),
    "WebP": encode(scene(), "WEBP", quality=95),
    "WebP lossless RGBA": encode(scene().convert("RGBA"), "WEBP", lossless=True),
    "WebP animated": encode(scene(), "WEBP", quality=95, black_second=True),
    "AVIF": encode(scene(), "AVIF", quality=95),
    "AVIF animated": encode(scene(), "AVIF", quality=95, black_second=True),
    "HEIC": encode(scene(), "HEIF"),
    "BMP": encode(scene(), "BMP"),
    "BMP palette": encode(scene().quantize(8), "BMP"),
    "DIB": encode(scene(), "DIB"),
    "GIF": encode(scene(), "GIF"),
    "GIF animated": encode(scene(), "GIF", black_second=True),
    "TIFF": encode(scene(), "TIFF"),
    "TIFF pages": encode(scene(), "TIFF", black_second=True),
    "TIFF big": encode(scene(), "TIFF", big_tiff=True),
    "TIFF palette": encode(scene().quantize(8), "TIFF"),
    "TIFF CMYK": encode(scene().convert("CMYK"), "TIFF"),
    "TIFF YCbCr": encode(scene().convert("YCbCr"), "TIFF"),
    "TIFF RGBX": encode(scene().convert("RGBX"), "TIFF"),
    "TIFF LZW": encode(scene(), "TIFF", compression="tiff_lzw"),
    "TIFF JPEG": encode(scene(), "TIFF", compression="jpeg", quality=95),
}
sample = pytest.mark.parametrize("data", SAMPLES.values(), ids=SAMPLES.keys())


@sample
def test_every_format_gives_the_first_frame_in_rgb(data: bytes) -> None:
    assert_shows_scene(decode(data))


@sample
def test_nothing_of_pillows_own_limit_leaks(
    data: bytes, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 96 * 64 - 1)
    assert_shows_scene(decode(data))
    assert not recwarn.list


@sample
def test_the_limit_counts_pixels(data: bytes) -> None:
    assert decode(data, max_pixels=96 * 64)
    with pytest.raises(ImageError, match=r"^96 x 64 pixels, more than the limit of 0.006143 mill"):
        decode(data, max_pixels=96 * 64 - 1)


def test_the_limit_is_checked_before_decoding() -> None:
    reason = "20000 x 20000 pixels, more than the limit of 150 million"
    with pytest.raises(ImageError, match=f"^{reason}$"):
        decode(png_header(20_000, 20_000))
    assert Image.MAX_IMAGE_PIXELS is not None
    assert MAX_PIXELS < 2 * Image.MAX_IMAGE_PIXELS, "Pillow would refuse first"


def test_pillows_own_refusal_becomes_an_image_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    huge_frame = bytearray(SAMPLES["GIF"])
    frame = huge_frame.index(b",\0\0\0\0\x60\0\x40\0")
    huge_frame[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(ImageError, match=r"GIF: .*pixels"):
        decode(bytes(huge_frame))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (MemoryError(), "not enough memory to decode this JPEG"),
        (OSError("two\nlines"), "truncated, damaged or unsupported JPEG: two lines"),
        (AssertionError(), "truncated, damaged or unsupported JPEG: AssertionError"),
    ],
)
def test_whatever_a_plugin_raises_becomes_a_one_line_reason(
    fault: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: object) -> None:
        raise fault

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", load)
    with pytest.raises(ImageError, match=f"^{reason}$"):
        decode(SAMPLES["JPEG"])


def test_suffixes_are_lower_case_and_cover_what_we_read() -> None:
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in IMAGE_SUFFIXES)
    assert {".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".gif"} <= IMAGE_SUFFIXES
    assert {".tif", ".tiff", ".heic", ".heif"} <= IMAGE_SUFFIXES


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_orientation_is_applied_once(kind: str, orientation: int) -> None:
    stored = scene()
    if orientation in STORED:
        stored = stored.transpose(STORED[orientation])
    photo = decode(encode(stored, kind, exif=exif({ORIENTATION: orientation}), quality=95))
    assert_shows_scene(photo)
    assert photo.image.getexif().get(ORIENTATION, 1) == 1, "the next reader would turn it again"


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_the_containers_rotation_overrides_the_exif_tag(kind: str) -> None:
    # The encoders turn the tag into a rotation, so smuggle it past them under another number.
    data = encode(scene(), kind, exif=exif({ORIENTATION + 1: 6}), quality=95)
    smuggled, tag = struct.pack(">HH", ORIENTATION + 1, 3), struct.pack(">HH", ORIENTATION, 3)
    assert data.count(smuggled) == 1
    assert_shows_scene(decode(data.replace(smuggled, tag)))


def test_an_xmp_orientation_does_not_turn_avif() -> None:
    assert_shows_scene(decode(encode(scene(), "AVIF", quality=95, xmp=XMP_TURN)))


def test_an_xmp_orientation_turns_tiff_once() -> None:
    data = encode(scene().transpose(STORED[6]), "TIFF", tiffinfo={700: XMP_TURN})
    assert_shows_scene(decode(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "body", [b"Exif\0\0neither II nor MM", b"Exif\0\0MM\0*\0\0\0\x08\0\x63junk"]
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_exif_does_not_cost_the_photo(kind: str, body: bytes) -> None:
    assert_shows_scene(decode(encode(scene(), kind, quality=95, dpi=(72, 72), exif=body)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_that_pillow_cannot_rewrite_still_turns(kind: str) -> None:
    # Compression as a text: read without complaint, but refused when written again.
    block = bytearray(exif({0x0103: 1, ORIENTATION: 6}))
    entry = block.index(struct.pack(">HHI", 0x0103, 3, 1))
    block[entry : entry + 12] = struct.pack(">HHI4s", 0x0103, 2, 4, b"abc\0")
    assert_shows_scene(decode(encode(scene().transpose(STORED[6]), kind, exif=bytes(block))))


# Modes


def grey(values: list[float], dtype: str) -> Image.Image:
    return Image.fromarray(np.array([values], dtype=dtype))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    data = encode(grey([0, 257, 128 * 257 + 100, 40_000, 65_535], "uint16"), kind)
    assert [r for r, _, _ in pixels(decode(data))] == [0, 1, 128, 156, 255]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (grey([0, 32_768, 65_535], ">u2"), [0, 128, 255]),
        (grey([0, 100, 1_000], "uint16"), [0, 0, 4]),
        (grey([-5, 0, 32_768, 65_535], "int32"), [0, 0, 128, 255]),
        (grey([0, 50_000, 100_000], "int32"), [0, 128, 255]),
        (grey([-1, 0, 0.5, 1], "float32"), [0, 0, 128, 255]),
        (grey([0, 100, 254.6], "float32"), [0, 100, 255]),
        (grey([0, 6_553.5, 65_535], "float32"), [0, 26, 255]),
        (grey([0, 2.5e5, 1e6], "float32"), [0, 64, 255]),
        (grey([np.nan, -np.inf, 0.25, np.inf], "float32"), [0, 0, 64, 255]),
        (grey([0, 0], "float32"), [0, 0]),
        (grey([-3, np.nan], "float32"), [0, 0]),
    ],
)
def test_deep_grey_tiff(image: Image.Image, expected: list[int]) -> None:
    assert pixels(decode(encode(image, "TIFF"))) == [[v, v, v] for v in expected]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_grey_and_one_bit(kind: str) -> None:
    assert pixels(decode(encode(grey([0, 77, 255], "uint8"), kind)))[1] == [77, 77, 77]
    bits = grey([0, 255, 255], "uint8").convert("1")
    assert pixels(decode(encode(bits, kind))) == [[0] * 3, [255] * 3, [255] * 3]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "AVIF"])
def test_alpha_is_composited_on_white(kind: str) -> None:
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 32, 32))
    image.paste((0, 0, 0, 51), (32, 0, 64, 32))
    photo = decode(encode(image, kind, quality=100))
    got = np.asarray(photo.image)[[16, 16, 48], [16, 48, 16]]
    assert np.allclose(got, [WHITE, (204, 204, 204), RED], atol=3)


def test_associated_alpha_is_composited_on_white() -> None:
    # ExtraSamples 1: colours are stored already multiplied by alpha.
    data = encode(Image.new("RGBA", (1, 1), (100, 0, 0, 100)), "TIFF")
    unassociated, associated = (struct.pack("<HHII", 338, 3, 1, kind) for kind in (2, 1))
    assert data.count(unassociated) == 1
    assert pixels(decode(data.replace(unassociated, associated))) == [[255, 155, 155]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_with_alpha_is_composited_on_white(kind: str) -> None:
    image = Image.new("LA", (3, 1))
    image.putdata([(10, 255), (0, 51), (0, 0)])
    assert pixels(decode(encode(image, kind))) == [[10] * 3, [204] * 3, [255] * 3]


@pytest.mark.parametrize(
    ("image", "key", "expected"),
    [
        (Image.fromarray(np.array([[RED, GREEN]], np.uint8)), RED, [WHITE, GREEN]),
        (grey([0, 77], "uint8"), 0, [WHITE, (77, 77, 77)]),
        (grey([0, 255], "uint8").convert("1"), 0, [WHITE, WHITE]),
        (grey([5, 6, 65_535], "uint16"), 5, [WHITE, (0, 0, 0), WHITE]),
    ],
    ids=lambda value: getattr(value, "mode", None),
)
def test_a_transparent_colour_turns_white(
    image: Image.Image, key: object, expected: list[tuple[int, ...]]
) -> None:
    data = encode(image, "PNG", transparency=key)
    assert pixels(decode(data)) == [list(pixel) for pixel in expected]


@pytest.mark.parametrize(
    ("kind", "transparency", "expected"),
    [
        ("GIF", 1, [RED, WHITE, BLUE]),
        ("PNG", 1, [RED, WHITE, BLUE]),
        ("PNG", b"\xff\x00\x33", [RED, WHITE, (204, 204, 255)]),
    ],
)
def test_transparent_palette_entries_turn_white(
    kind: str, transparency: object, expected: list[tuple[int, ...]]
) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([0, 1, 2])
    data = encode(image, kind, transparency=transparency)
    assert pixels(decode(data)) == [list(pixel) for pixel in expected]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize(
    ("ink", "colour"), [((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 0, 255), (0, 0, 0))]
)
def test_cmyk(kind: str, ink: tuple[int, ...], colour: tuple[int, ...]) -> None:
    photo = decode(encode(Image.new("CMYK", (16, 16), ink), kind))
    assert np.allclose(pixels(photo), colour, atol=4)


def test_lab_tiff() -> None:
    photo = decode(encode(Image.new("LAB", (2, 2), (255, 128, 128)), "TIFF"))
    assert np.allclose(pixels(photo), 255, atol=3)


# Scaled decoding


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    min_side=st.integers(1, 320),
    orientation=st.integers(1, 8),
)
def test_min_side_keeps_the_shorter_side(
    width: int, height: int, min_side: int, orientation: int
) -> None:
    stored = Image.new("RGB", (width, height))
    photo = decode(encode(stored, "JPEG", exif=exif({ORIENTATION: orientation})), min_side=min_side)
    upright = (height, width) if orientation >= 5 else (width, height)
    assert (photo.width, photo.height) == upright
    scale = next(s for s in (8, 4, 2, 1) if s == 1 or min(width, height) // s >= min_side)
    assert photo.image.size == tuple(-(-side // scale) for side in upright)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_scaled_decoding_shows_the_same_scene(orientation: int) -> None:
    stored = scene(768, 512)
    if orientation in STORED:
        stored = stored.transpose(STORED[orientation])
    photo = decode(encode(stored, "JPEG", exif=exif({ORIENTATION: orientation})), min_side=64)
    assert (photo.width, photo.height) == (768, 512)
    assert_close(photo.image, scene())


@pytest.mark.parametrize("name", ["PNG", "WebP", "AVIF", "HEIC", "BMP", "GIF", "TIFF", "TIFF JPEG"])
def test_min_side_leaves_other_formats_alone(name: str) -> None:
    assert_shows_scene(decode(SAMPLES[name], min_side=8))


def test_a_plain_jpeg_is_not_copied() -> None:
    image = decode(SAMPLES["JPEG"]).image
    assert isinstance(image, JpegImagePlugin.JpegImageFile)


# What is not an image, or no longer one


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"<!DOCTYPE html><html><body>404</body></html>",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n",
        b"P6 1 1 255 \0\0\0",
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
        b"RIFF\x24\0\0\0WAVEfmt ",
    ],
)
def test_other_files_are_not_images(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"^not an image in a format we read \(JPEG, PNG, .*\)$"):
        decode(data)


def test_an_empty_file() -> None:
    with pytest.raises(ImageError, match=r"^the file is empty$"):
        decode(b"")


def test_the_reason_names_the_format_and_the_fault() -> None:
    with pytest.raises(ImageError, match=r"^truncated, damaged or unsupported JPEG: .*truncated"):
        decode(SAMPLES["JPEG"][:-100])
    with pytest.raises(ImageError, match=r"^truncated, damaged or unsupported PNG: "):
        decode(png_header(9, 9))


def test_a_header_that_promises_more_than_there_is() -> None:
    data = bytearray(SAMPLES["BMP"])
    data[18:26] = struct.pack("<II", 4_000, 3_000)
    with pytest.raises(ImageError, match="BMP: image file is truncated"):
        decode(bytes(data))


@sample
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damage_gives_a_photo_or_a_one_line_reason(data: bytes) -> None:
    rng = random.Random(0)
    cases = [data[: rng.randrange(len(data))] for _ in range(40)]
    for _ in range(80):
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 2, 8])):
            # Half of the hits go to the head, where the structure is.
            at = rng.randrange(rng.choice([len(data), min(len(data), 128)]))
            damaged[at] ^= 1 << rng.randrange(8)
        cases.append(bytes(damaged))
    reasons = []
    for case in cases:
        try:
            photo = decode(case, max_pixels=1_000_000)
        except ImageError as error:
            reasons.append(str(error))
        else:
            assert photo.image.mode == "RGB"
            assert photo.image.size == (photo.width, photo.height)
    assert reasons
    assert all(len(reason.splitlines()) == 1 for reason in reasons)


# HEIC without its package, and threads


def test_heic_without_pillow_heif_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"^HEIC needs `pip install pillow-heif`$"):
        decode(SAMPLES["HEIC"])
    for other in ("JPEG", "AVIF"):
        assert_shows_scene(decode(SAMPLES[other]))


@pytest.mark.parametrize(
    ("major", "compatible"), [(b"avif", b"mif1"), (b"mif1", b"miafavif"), (b"mif1", b"avis")]
)
def test_avif_is_told_from_heic_by_its_brands(
    major: bytes, compatible: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    box = struct.pack(">I", 16 + len(compatible)) + b"ftyp" + major + b"\0\0\0\0" + compatible
    with pytest.raises(ImageError, match="AVIF"):
        decode(box)


def test_many_threads_at_once() -> None:
    alone = {name: decode(data).image.tobytes() for name, data in SAMPLES.items()}
    names = list(SAMPLES) * 6
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda name: decode(SAMPLES[name]).image.tobytes(), names))
    assert together == [alone[name] for name in names]
