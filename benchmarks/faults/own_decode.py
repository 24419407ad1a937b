"""A decode of an image file that shares nothing with the library's but Pillow's stored pixels.

They are turned by `ImageOps.exif_transpose`; palettes and clear colours are looked up with NumPy, and what is
transparent is composited with whole numbers.
"""
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from s8lib.image_files import BACKGROUNDS, FORMATS

COLOURS = ('1', 'L', 'LA', 'La', 'P', 'PA', 'RGB', 'RGBA', 'RGBa')  # modes that are decoded here
PNG_SCALES = {1: 255, 2: 85, 4: 17, 8: 1, 16: 1 / 257}  # a value of this many bits in eight


def _clear_colour(path: Path, image: Image.Image) -> np.ndarray | None:
    "The clear colour of a grey or RGB image, in eight bits."
    clear = image.info.get('transparency')
    if clear is None or isinstance(clear, bytes) or image.mode not in ('1', 'L', 'RGB'): return None
    start = path.read_bytes()[:25]
    if image.mode == '1': return np.array([255 if clear else 0])
    depth = start[24] if start.startswith(b'\x89PNG') else 8
    return np.atleast_1d(clear).astype(float) * PNG_SCALES[depth] // 1


def _colour_and_alpha(path: Path, image: Image.Image) -> tuple:
    "Pixels (H, W, 3) and opacity (H, W, 1) in 0 … 255, as whole numbers."
    if image.mode not in COLOURS: return np.asarray(image.convert('RGB')).astype(int), 255
    stored = np.asarray(image).astype(int)
    if image.mode == '1': stored = stored * 255
    stored = stored.reshape(*stored.shape[:2], -1)
    if image.mode in ('P', 'PA'): return _from_palette(image, stored)
    if image.mode[-1] in 'Aa':
        colour, alpha = stored[..., :-1], stored[..., -1:]
        if image.mode[-1] == 'a': colour = np.minimum(255, colour * 255 // np.maximum(alpha, 1))
        return np.broadcast_to(colour, (*stored.shape[:2], 3)), alpha
    clear = _clear_colour(path, image)
    alpha = 255 if clear is None else np.where((stored == clear).all(-1, keepdims=True), 0, 255)
    return np.broadcast_to(stored, (*stored.shape[:2], 3)), alpha


def _from_palette(image: Image.Image, stored: np.ndarray) -> tuple:
    "Pixels and opacity of an image with a palette."
    index = stored[..., 0]
    colours = np.zeros((256, 4), int)
    colours[:, 3] = 255
    palette = np.reshape(image.getpalette('RGBA' if image.palette.mode == 'RGBA' else 'RGB'), (-1, 4)
                         if image.palette.mode == 'RGBA' else (-1, 3))
    colours[:len(palette), :palette.shape[1]] = palette
    clear = image.info.get('transparency')
    if isinstance(clear, bytes): colours[:len(clear), 3] = list(clear)
    elif clear is not None: colours[clear, 3] = 0
    alpha = stored[..., 1:] if image.mode == 'PA' else colours[index][..., 3:]
    return colours[index][..., :3], alpha


def own_decode(path: Path, background: str) -> np.ndarray:
    "The pixels of a file, upright and on a background."
    with Image.open(path, formats=FORMATS) as file: image = ImageOps.exif_transpose(file)
    colour, alpha = _colour_and_alpha(path, image)
    ground = np.array(BACKGROUNDS[background])
    return ((colour * alpha + ground * (255 - alpha) + 127) // 255).astype(np.uint8)
