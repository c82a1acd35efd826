"""Turn a Pillow picture of any mode, or an array of any usual kind, into 8-bit RGB pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
from PIL.Image import Transpose

from xai.errors import UserError

_ORIENTATION_TAG = 0x0112
_PHOTOMETRIC_TAG = 262  # TIFF; 0 means that white is stored as zero
_UPRIGHT = {  # EXIF orientation -> what makes the stored picture upright
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_ROUNDING = 1e-4  # a float this far outside [0, 1] is rounding error, as from resizing


def rgb_from_pillow(picture: PIL.Image.Image, what: str) -> np.ndarray:
    """Give the pixels that a person would see: upright, opaque over white.

    Args:
        picture: any mode; loaded by this call if it was not. A file of several frames gives the current one.
        what: names the picture in an error.

    Returns:
        Uint8 (H, W, 3) RGB, read-only.

    Raises:
        UserError: there are no pixels, or their values are outside the range that can be shown.
        Exception: whatever Pillow raises on a damaged file.
    """
    if 0 in picture.size:
        raise UserError(f"{what} has no pixels: its size is {picture.width} x {picture.height}.")
    key = _transparent_value(picture)  # before load(): afterwards the stored bit depth is forgotten
    picture.load()
    orientation = _orientation(picture)  # after load(): a TIFF turns itself while loading
    if picture.mode == "F" or picture.mode.startswith("I"):
        picture = _grey_from_deep(picture, key, what)
    elif key is not None and key != picture.info["transparency"]:
        picture = picture.copy()  # the caller's own picture stays as it is
        picture.info["transparency"] = key
    upright = _over_white(picture)
    if orientation in _UPRIGHT:
        upright = upright.transpose(_UPRIGHT[orientation])
    return np.asarray(upright)


def rgb_from_array(values: np.ndarray, what: str) -> np.ndarray:
    """Give 8-bit RGB pixels for an array of grey, grey and alpha, RGB or RGBA values.

    Args:
        values: (H, W) or (H, W, C) with C = 1, 2, 3 or 4; bool, uint8, uint16 (0..65535 is black to white),
            other integers in 0..255, or floats in [0, 1].
        what: names the array in an error.

    Returns:
        Uint8 (H, W, 3) RGB, read-only, in memory of its own.

    Raises:
        UserError: the shape, dtype or range is none of these; the sentence says what would be.
    """
    _check_shape(values, what)
    eight_bit = np.ascontiguousarray(_eight_bit(values, what))
    if eight_bit.ndim == 3 and eight_bit.shape[2] == 1:
        eight_bit = eight_bit[:, :, 0]  # (H, W, 1) -> (H, W)
    return rgb_from_pillow(PIL.Image.fromarray(eight_bit), what)


def _check_shape(values: np.ndarray, what: str) -> None:
    shape = values.shape
    if values.ndim in (2, 3) and 0 not in shape and (values.ndim == 2 or shape[2] in (1, 2, 3, 4)):
        return
    hint = ""
    if 0 in shape:
        hint = "; it is empty"
    elif values.ndim == 3 and shape[0] in (1, 3, 4):
        hint = "; put the channels last with array.transpose(1, 2, 0)"
    elif values.ndim == 4:
        hint = "; for a batch give one picture, such as array[0]"
    raise UserError(
        f"{what} has shape {shape}, but a picture needs (H, W) or (H, W, C) with 1, 2, 3 or 4 channels{hint}."
    )


def _eight_bit(values: np.ndarray, what: str) -> np.ndarray:
    """Bring values of any usual dtype to uint8, 0..255, in the same shape."""
    kind = values.dtype.kind
    if values.dtype == np.uint8:
        return values
    if kind == "b":
        return values * np.uint8(255)
    if values.dtype.type is np.uint16:  # in any byte order
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 0..65535 -> 0..255, rounded
    if kind not in "iuf":
        raise UserError(f"{what} has dtype {values.dtype}, but pixels are bool, integers or real floats.")
    with np.errstate(invalid="ignore"):
        low, high = values.min(), values.max()  # NaN if any value is
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UserError(f"{what} holds NaN or infinite values; floats must lie in [0, 1].")
    if kind in "iu":
        if low < 0 or high > 255:
            raise UserError(
                f"{what} holds integers from {low} to {high}; {values.dtype} must lie in 0..255 "
                "(16-bit pixels need dtype uint16)."
            )
        return values.astype(np.uint8)
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise UserError(
            f"{what} holds floats from {low:.4g} to {high:.4g}; they must lie in [0, 1] "
            "(undo a normalisation, or convert 0..255 to dtype uint8)."
        )
    return np.rint(np.clip(values.astype(np.float32), 0, 1) * 255).astype(np.uint8)


def _grey_from_deep(picture: PIL.Image.Image, key: Any, what: str) -> PIL.Image.Image:
    """Scale a one-channel picture of 16-bit, 32-bit or float values to 8-bit grey; Pillow would clip it."""
    values = np.asarray(picture)
    if picture.mode == "I":  # 32 bits wide, but what files keep in it is 16-bit
        low, high = values.min(), values.max()
        if low < 0 or high > 65535:
            raise UserError(f"{what} holds integers from {low} to {high}; deep pixels must lie in 0..65535.")
        values = values.astype(np.uint16)
    grey = _eight_bit(values, what)
    if getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC_TAG) == 0:  # Pillow inverts this for 8 bits only
        grey = 255 - grey
    if isinstance(key, int):
        grey = np.where(values == key, np.uint8(255), grey)
    return PIL.Image.fromarray(grey)


def _over_white(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Convert to RGB; what is transparent shows white."""
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    if picture.mode == "La":  # Pillow cannot go from here to RGBA in one step
        picture = picture.convert("LA")
    rgba = picture.convert("RGBA")
    canvas = PIL.Image.new("RGB", picture.size, "white")
    canvas.paste(rgba, mask=rgba)  # (c * a + 255 * (255 - a)) / 255, rounded
    return canvas


def _transparent_value(picture: PIL.Image.Image) -> Any:
    """Give the transparent value or colour on the scale of the decoded pixels, or None.

    PNG files state it on the scale of the stored ones and Pillow passes it on unchanged, so that the
    transparent parts of 2-bit, 4-bit and 16-bit-colour files would not be found.
    """
    key = picture.info.get("transparency")
    tiles = getattr(picture, "tile", None)
    if key is None or picture.format != "PNG" or not tiles:
        return key
    stored = tiles[0][3]
    if stored in ("L;2", "L;4"):
        return key * {"L;2": 85, "L;4": 17}[stored]
    return tuple(value >> 8 for value in key) if stored == "RGB;16B" else key


def _orientation(picture: PIL.Image.Image) -> int:
    """Read which way up the picture was taken: 1 to 8 as in EXIF, 1 where nothing is said."""
    try:
        value = picture.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a damaged EXIF block raises anything, and says nothing against the pixels
        return 1
    return value if isinstance(value, int) else 1
