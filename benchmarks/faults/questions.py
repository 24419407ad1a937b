"""Questions to the library with a hostile part: each a generator that makes it, asks, and judges the answer.

What stands before the first `yield` makes the input, what stands before the second is timed and watched, and
the rest raises `Wrong` for an answer that is neither right nor refused, or returns in a word how it was
right.
"""
import os
import pickle
import random
import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from faults.cifar10_files import MEMBERS, archive, archives, fitting, good_batch, pickles
from faults.damage import forge
from faults.own_decode import own_decode
from faults.strange_files import FILES, TEXTS, encoded
from faults.strange_values import NAMES, VALUES, good_set, image_sets

GOOD_FILES = 3


class Wrong(Exception):
    "A value that is neither right nor refused."


def plain_pixels(path: Path, size: int = 32) -> np.ndarray:
    "A file as it is decoded without the library, on white, the middle of it at a size."
    from PIL import Image, ImageOps
    return np.asarray(ImageOps.fit(Image.fromarray(own_decode(path, 'white')), (size, size),
                                   Image.Resampling.BICUBIC))


def make_folder(folder: Path, classes: tuple = ('a', 'b')) -> Path:
    "A folder of good images: `train` and `test`, a folder for each class."
    for split in ('train', 'test'):
        for name in classes:
            (folder / split / name).mkdir(parents=True)
            for number in range(GOOD_FILES):
                (folder / split / name / f'good {number}.png').write_bytes(encoded('PNG'))
    return folder


def ask_file(folder, name):
    "A hostile file, the last among good ones of its class."
    from s8lib.image_files import Reading
    from s8lib.image_folder import image_folder
    path = make_folder(folder) / 'train/b' / ('zz ' + name)
    os.chdir(path.parent)
    FILES[name](path)
    yield
    image_set = image_folder(folder, 'train', Reading(32), cache=False)
    yield
    if len(image_set) == 2 * GOOD_FILES:  # by a suffix that is none of an image, or kept out
        if image_set.skipped or path.suffix not in ('.png', '.jpg'): return 'kept out'
        raise Wrong('kept out without a word')
    if not np.array_equal(image_set.images[-1], plain_pixels(path)):
        raise Wrong('other pixels than Pillow reads')
    return 'right'


def ask_class_name(folder, name):
    "A class with a hostile name, all the way to a report."
    from s8lib.main import save_report, train
    from s8lib.predictions import class_accuracy
    word = NAMES[name]
    make_folder(folder / 'images', (word, 'zzz'))
    yield
    run = train('folder', str(folder / 'images'), width=1, epochs=1, batch_size=3,
                runs_dir=str(folder / 'runs'), progress=False)
    save_report(run, num_mistakes=2)
    yield
    for shown in (*str(run).splitlines(), str(run.train), *str(class_accuracy(run.predictions)).splitlines()):
        check_text(shown)
    page = (run.folder / 'report.html').read_text(encoding='utf-8')
    if '<script>alert' in page: raise Wrong('the report runs a script')
    check_text(page.replace('\n', ''))
    if word not in run.train.classes: raise Wrong(f'other classes: {run.train.classes!r}')
    return 'right'


def ask_file_name(folder, name):
    "Files with a hostile name: a good one, and one that must be kept out."
    from s8lib.datasets import image_folder
    make_folder(folder)
    (folder / 'train/b' / (NAMES[name][:60] + '.png')).write_bytes(encoded('PNG'))
    (folder / 'train/a' / (NAMES[name][:60] + '.png')).write_bytes(b'no image')
    yield
    image_set = image_folder(folder, 'train', cache=False)
    yield
    if len(image_set) != 2 * GOOD_FILES + 1 or len(image_set.skipped) != 1:
        raise Wrong(f'{len(image_set)} images, {len(image_set.skipped)} kept out')
    return 'right'


def ask_image_set(folder, name):
    "Arrays and names for an `ImageSet`."
    from s8lib.data import ImageSet, channel_stats
    changes, may_be_right = image_sets()[name]
    arguments = good_set() | changes
    yield
    image_set = ImageSet(**arguments)
    channel_stats(image_set)
    str(image_set)
    yield
    if not may_be_right: raise Wrong(f'accepted: {image_set!r}')
    for part in ('images', 'labels'):
        if not np.array_equal(getattr(image_set, part), np.asarray(arguments[part])):
            raise Wrong(f'other {part}')
    return 'right'


def ask_option(folder, name):
    "Every strange value for one option: refused, or accepted and of use."
    from s8lib.core import S8Error
    from s8lib.options import Options, load_splits, make_model
    from s8lib.batches import make_train_loader
    from s8lib.data import ImageSet, channel_stats
    good = ImageSet(**good_set())
    good = good.with_stats(channel_stats(good))
    yield
    for value in VALUES:
        try:
            options = Options(**{name: value}).filled()
            str(options)
            if isinstance(value, int) and value > 10**9: continue
            make_model(options, good)
            next(iter(make_train_loader(good, options)))
            if name == 'data_dir': load_splits(replace(options, dataset='folder'))
        except S8Error as error: check_text(str(error))
        except Exception as error:
            raise Wrong(f'{name}={value!r:.60}: {type(error).__name__}: {error}') from error
    yield
    return 'right or named'


def ask_pickle(folder, name):
    "A pickle in an archive whose checksums were made to fit."
    yield from _ask_archive(folder, archive(MEMBERS, pickles()[name]), is_fitting=True)
    return 'right'


def ask_archive(folder, name):
    "Whatever lies where the archive of CIFAR-10 is expected, under the published checksums."
    yield from _ask_archive(folder, archives()[name], is_fitting=False)
    raise Wrong('accepted')


def ask_fitting_archive(folder, name):
    "The same with checksums that were made to fit."
    yield from _ask_archive(folder, archives()[name], is_fitting=True)
    return 'right'


def _ask_archive(folder, content, is_fitting):
    "Load an archive: right are the images of the good batch, and nothing unpacked beside it."
    from s8lib import cifar10
    path = folder / 'cifar-10-python.tar.gz'
    if callable(content): content(path)
    else: path.write_bytes(content)
    published = fitting(content) if is_fitting else cifar10.ARCHIVE
    yield
    image_set = cifar10._load(folder, 'train', False, published)
    yield
    if not np.array_equal(image_set.images[:4], pickle_images()) or len(image_set) != 20:
        raise Wrong('other images')
    if [each.name for each in folder.iterdir()] != [path.name]:
        raise Wrong(f'it was unpacked: {list(folder.iterdir())}')


def pickle_images() -> np.ndarray:
    "The images of the good batch, as plain Python reads them."
    return pickle.loads(good_batch())['data'].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


CACHES = {
    'empty': b'', 'text': b'{}', 'zeros': bytes(10**6), 'pickle': TEXTS['pickle.png'], 'number': b'1',
    'list': b'[]', 'deep': b'[' * 10**6,
    'nothing': b'null', 'digits': b'9' * 10**6, 'half a text': b'"', 'long header': b'\xff' * 8 + b'{}',
    'pipe': os.mkfifo, 'folder': Path.mkdir,
    'device': lambda path: path.symlink_to('/dev/zero'), 'circle': lambda path: path.symlink_to(path.name)}


def ask_cache(folder, name):
    "Whatever lies where a decoded set was cached: the images must be right."
    from s8lib.image_folder import image_folder
    os.environ['XDG_CACHE_HOME'] = str(folder / 'cache')
    images = make_folder(folder / 'images')
    truth = image_folder(images, 'train').images
    which, kind = name.split(' is ')
    path = next((folder / 'cache').rglob(f'*{which}'))
    path.unlink()
    if callable(CACHES[kind]): CACHES[kind](path)
    else: path.write_bytes(CACHES[kind])
    yield
    image_set = image_folder(images, 'train')
    yield
    if not np.array_equal(image_set.images, truth): raise Wrong('other images')
    return 'right'


def ask_forged(folder, name):
    "Runs that were described by somebody who can make checksums fit: opened or refused."
    from s8lib.core import S8Error
    from s8lib.main import open_run
    from s8lib.resuming import read_starting_point
    template = folder.parent.parent / 'run'
    yield
    for number in range(10):
        run = folder / str(number)
        shutil.copytree(template, run)
        words = forge(run, random.Random(f'{name} {number}'))
        for read in (lambda run: str(open_run(run, device='cpu')), read_starting_point):
            try: read(run)
            except S8Error as error: check_text(str(error))
            except Exception as error: raise Wrong(f'{words}: {type(error).__name__}: {error}') from error
    yield
    return 'right or named'


def check_text(text):
    bad = sorted({letter for letter in text if not letter.isprintable()} - set('\u200c\u200d'))
    if bad: raise Wrong(f'a message with {bad!r}: {text[:200]!r}')


def _with_bytes(cases): return [name for name, content in cases.items() if isinstance(content, bytes)]


def _caches():
    names = ('manifest.json', 'images.json', 'images.u8', 'checked.json')
    return [f'{which} is {kind}' for which in names for kind in CACHES]


def _options():
    from s8lib.options import Options
    return [field.name for field in fields(Options)]


FAMILIES = dict(file=(ask_file, lambda: FILES), class_name=(ask_class_name, lambda: NAMES),
                file_name=(ask_file_name, lambda: NAMES), image_set=(ask_image_set, image_sets),
                option=(ask_option, _options), pickle=(ask_pickle, pickles), archive=(ask_archive, archives),
                fitting_archive=(ask_fitting_archive, lambda: _with_bytes(archives())),
                cache=(ask_cache, _caches),
                forged=(ask_forged, lambda: [f'{number:02}' for number in range(50)]))
