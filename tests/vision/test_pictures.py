"""Pictures of every kind come out whole, upright and in RGB, or are refused in one line."""

import io
import struct
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recurra.errors import DataError
from recurra.vision import check_picture, open_picture

RED, BLUE = (200, 30, 40), (20, 40, 220)


def halves(rows: int = 8, columns: int = 12) -> Image.Image:
    """Red at the left, blue at the right."""
    pixels = np.zeros((rows, columns, 3), np.uint8)
    pixels[:, : columns // 2], pixels[:, columns // 2 :] = RED, BLUE
    return Image.fromarray(pixels)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(content: bytes | Path) -> np.ndarray:
    image = open_picture(content)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def test_rgb_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    halves().save(path)
    assert (pixels(path) == np.asarray(halves())).all()
    assert check_picture(path) == (8, 12)


def test_cmyk_of_a_printer_has_its_colours() -> None:
    content = saved(halves(16, 32).convert("CMYK"), "JPEG", quality=98)
    found = pixels(content)
    assert abs(found[8, 4] - RED).max() < 12
    assert abs(found[8, 28] - BLUE).max() < 12


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA"])
def test_greys_and_palettes_become_rgb(mode: str) -> None:
    found = pixels(saved(halves().convert("L").convert(mode), "PNG"))
    assert found.shape == (8, 12, 3)
    assert (found[..., 0] == found[..., 2]).all()


def test_what_is_transparent_is_white() -> None:
    image = halves().convert("RGBA")
    alpha = np.full((8, 12), 255, np.uint8)
    alpha[:, :6], alpha[:, 11] = 0, 128
    image.putalpha(Image.fromarray(alpha))
    found = pixels(saved(image, "PNG"))
    assert (found[:, :6] == 255).all()
    assert (found[:, 6:11] == BLUE).all()
    assert abs(found[0, 11] - (np.array(BLUE) + 255) / 2).max() < 2


def test_a_palette_with_a_transparent_colour_is_laid_on_white() -> None:
    image = halves().quantize(2)
    content = saved(image, "PNG", transparency=image.getpixel((0, 0)))
    assert (pixels(content)[:, :6] == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_cut(kind: str) -> None:
    values = np.linspace(0, 65535, 96).reshape(8, 12).astype(np.uint16)
    found = pixels(saved(Image.fromarray(values), kind))
    assert abs(found[..., 0] - values / 257).max() <= 0.5
    assert found.max() == 255


def test_fractions_of_a_tiff_are_scaled() -> None:
    values = np.linspace(0, 1, 96).reshape(8, 12).astype(np.float32)
    found = pixels(saved(Image.fromarray(values), "TIFF"))
    assert abs(found[..., 0] - values * 255).max() <= 0.5


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (3, lambda a: a[::-1, ::-1]),
        (6, lambda a: np.rot90(a, -1)),
        (8, lambda a: np.rot90(a)),
        (2, lambda a: a[:, ::-1]),
    ],
)
def test_exif_turns_it_upright(orientation: int, turn) -> None:  # type: ignore[no-untyped-def]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(halves(), "PNG", exif=exif)
    assert (pixels(content) == turn(np.asarray(halves()))).all()


def test_a_moving_picture_is_its_first_frame() -> None:
    other = Image.new("RGB", (12, 8), (0, 255, 0))
    content = saved(halves(), "GIF", save_all=True, append_images=[other])
    assert abs(pixels(content)[0, 0] - RED).max() < 8


# ---- what is refused -----------------------------------------------------------------------------


def refused(source: bytes | Path, says: str, **options: int) -> None:
    with pytest.raises(DataError, match=says) as caught:
        open_picture(source, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_picture_cut_short_is_named(kind: str, share: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    content = saved(Image.fromarray(noise), kind)
    path = tmp_path / "cut.bin"
    path.write_bytes(content[: int(len(content) * share)])
    refused(path, "cut.bin: expected a (whole )?picture")


@pytest.mark.medium
def test_bytes_that_were_changed_never_end_in_another_error() -> None:
    generator = np.random.default_rng(0)
    noise = Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        content = np.frombuffer(saved(noise, kind), np.uint8)
        for _ in range(60):
            changed = content.copy()
            at = generator.integers(0, len(changed), 8)
            changed[at] = generator.integers(0, 256, 8)
            with suppress(DataError):
                assert open_picture(changed.tobytes()).mode == "RGB"


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    refused(b"", "an empty file")
    refused(b"hello, this is a text", "begins as none of them does")
    refused(tmp_path / "none.png", "none.png: expected a picture, got: No such file")
    refused(tmp_path, "expected a picture, got")
    # Pillow would start Ghostscript for this
    refused(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "begins as none of them does")


def bomb(rows: int, columns: int) -> bytes:
    """A PNG of a few hundred bytes that says it has so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", body), chunk(b"IEND", b"")]
    )


@pytest.mark.parametrize("side", [8_000, 12_000, 100_000])
def test_bombs_are_refused_before_they_are_decoded(side: int) -> None:
    refused(bomb(side, side), "expected a picture of at most 50,000,000 pixels")


def test_the_limit_can_be_set() -> None:
    content = saved(halves(), "PNG")
    refused(content, "at most 95 pixels, got 8 rows of 12", max_pixels=95)
    assert open_picture(content, max_pixels=96).size == (12, 8)


def test_without_pillow_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install -e '\.\[vision\]' in the clone"):
        open_picture(b"")
