"""Pillow's own test images through `read_image` and `image_folder`, against a decode of the benchmark's own.

The images are `Tests/images` of the sdist of the Pillow that is installed. A file is silently wrong where
`read_image` gives other pixels than `faults.own_decode`.
"""
import shutil
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from faults.own_decode import own_decode
from faults.pillow import fetch
from PIL import Image
from shared import table

from s8lib.core import DataError, S8Error, visible
from s8lib.image_files import FORMATS, Reading, read_image
from s8lib.image_folder import image_folder

def plain_decode(path: Path) -> np.ndarray:
    "The pixels of a file as `convert('RGB')` gives them, which many programs do."
    with Image.open(path, formats=FORMATS) as file:
        return np.asarray(file.convert('RGBA').convert('RGB'))


def judge(path: Path, background: str) -> tuple[str, str]:
    "What `read_image` makes of a file, and details."
    try: pixels, _ = read_image(path, Reading(background=background))
    except S8Error as error:
        is_named = str(error).startswith(visible(path))
        return ('refused by name' if is_named else 'error without its path'), str(error)
    except Exception as error: return 'error without its path', f'{type(error).__name__}: {error}'
    own = own_decode(path, background)
    if own.shape == pixels.shape and np.array_equal(own, pixels): return 'right', ''
    return 'silently wrong', f'{own.shape} and {pixels.shape}'


def judge_plain(path: Path) -> str:
    "What plain Pillow makes of a file that `read_image` reads."
    own = own_decode(path, 'white')
    plain = plain_decode(path)
    if plain.shape == own.shape and np.array_equal(plain, own): return 'right'
    with Image.open(path, formats=FORMATS) as file:
        is_turned = file.format != 'TIFF' and file.getexif().get(0x112, 1) not in (0, 1)
    return 'not turned' if is_turned else 'not composited'


def ask_folder(paths: list, folder: Path) -> dict:
    "How many of the files a folder of images takes, and how many it lists as left out."
    for number, path in enumerate(paths):
        target = folder / 'pillow' / f'{number:04}{path.suffix}'
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    good = folder / 'good'
    good.mkdir()
    for number in range(len(paths)): Image.new('RGB', (8, 8)).save(good / f'{number}.png')
    image_set = image_folder(folder, 'all', Reading(32), cache=False)
    names = {name for name in image_set.names if name.startswith('pillow/')}
    listed = {name for name, _ in image_set.skipped}
    return {'in the set': len(names), 'listed as left out': len(listed),
            'vanished': len(paths) - len(names | listed)}


def run(
    data_dir: str | Path = None,  # holds Pillow's test images; by default pip fetches them
) -> tuple:  # result, Markdown paragraphs
    "Read every file on two backgrounds, then all of them as one folder."
    warnings.simplefilter('ignore')
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(data_dir) if data_dir else fetch(Path(temporary))
        if source is None: raise DataError('pip does not get the sdist of Pillow; pass its Tests/images')
        paths = sorted(path for path in source.rglob('*') if path.is_file())
        rows = []
        bad = []
        for background in ('white', 'black'):
            outcomes = {path: judge(path, background) for path in paths}
            rows.append({'read by': f'`read_image` on {background}', **_counts(outcomes.values())})
            bad += [f'{path.name} on {background}: {kind} ({details})'
                    for path, (kind, details) in outcomes.items() if kind not in ('right', 'refused by name')]
        readable = [path for path, (kind, _) in outcomes.items() if kind in ('right', 'silently wrong')]
        plain = Counter(map(judge_plain, readable))
        in_folder = ask_folder(paths, Path(temporary) / 'folder')
    result = dict(files=len(paths), rows=rows, bad=bad, plain=dict(plain), folder=in_folder)
    return result, _page(result)


def _counts(outcomes) -> dict:
    counts = Counter(kind for kind, _ in outcomes)
    kinds = ('right', 'refused by name', 'silently wrong', 'error without its path')
    return {kind: counts[kind] for kind in kinds}


def _page(result) -> list:
    "The paragraphs about a result."
    plain = result['plain']
    folder = ', '.join(f'{count:,} {words}' for words, count in result['folder'].items())
    return [
        "## Pillow's test images",
        f"{result['files']:,} files, each read under its own name and compared to the pixel with a decode of "
        "the benchmark's own: EXIF by `ImageOps.exif_transpose`, palettes, clear colours and compositing "
        'by NumPy.',
        table(result['rows']),
        f"Of the readable ones `convert('RGB')` alone, as many programs do, gets {plain.get('not turned', 0)}"
        f" lying on their side or mirrored and {plain.get('not composited', 0)} with the colour behind the "
        f'transparency. All of them as one folder: {folder}.',
        *[f'- {line}' for line in result['bad']]]
