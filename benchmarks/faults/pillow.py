"""Pillow's own test images, through `image_folder`: every one right, or refused under a name, and none hangs.

They are `Tests/images` of the sdist of the Pillow that is installed, fetched by pip unless `--data-dir` says
where they are. Each is read under its own name and, as somebody may have called it so, as .png. Right are the
pixels of `own_decode`, on white.
"""
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

from faults.bench import Place, Test, Trial, is_named, side_by_side
from faults.questions import plain_pixels
from faults.strange_files import encoded
from faults.watch import Watch

IN_TRIAL = 25  # files
LONGEST = 5.  # seconds of a processor
SHORT = 1  # trials
MOST_TRIALS = 40


def fetch(folder: Path) -> Path | None:
    "The test images of the installed Pillow, or None where pip does not get them."
    target = folder / 'images'
    if target.exists(): return target
    name = f'pillow=={version("pillow")}'
    command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-binary', 'pillow', '--no-deps',
               '--dest', str(folder), name]
    subprocess.run(command, capture_output=True)
    archives = list(folder.glob('pillow-*.tar.gz'))
    if not archives: return None
    with tarfile.open(archives[0]) as archive: archive.extractall(folder / 'unpacked', filter='data')
    next((folder / 'unpacked').glob('*/Tests/images')).rename(target)
    shutil.rmtree(folder / 'unpacked')
    return target


def read_one(path: Path, folder: Path) -> tuple:
    "What came of a file in a class of its own, in a folder with another one, and why."
    import time

    from s8lib.image_files import Reading
    from s8lib.image_folder import image_folder
    shutil.rmtree(folder, ignore_errors=True)
    for name in 'ab':
        (folder / 'train' / name).mkdir(parents=True)
        for number in range(2): (folder / 'train' / name / f'{number}.png').write_bytes(encoded('PNG'))
    shutil.copyfile(path, folder / 'train/b' / ('zz' + path.suffix))
    start = time.process_time()
    try: image_set = image_folder(folder, 'train', Reading(32), cache=False)
    except Exception as error:
        return ('named' if is_named(error) else 'without a name'), f'{type(error).__name__}: {error}'
    seconds = time.process_time() - start
    if seconds > LONGEST: return 'too slow', f'{seconds:.1f} s'
    if image_set.skipped: return 'kept out', image_set.skipped[0][1]
    try: is_same = np.array_equal(image_set.images[-1], plain_pixels(path))
    except Exception as error: return 'wrong', f'plain Pillow does not take it: {error}'
    return ('right', '') if is_same else ('wrong', 'other pixels than Pillow reads')


def read_many(paths: list, folder: str) -> dict:
    "Files one after another, each under its own name and as .png."
    import warnings
    warnings.simplefilter('ignore')
    trial = Trial('')
    watch = Watch([folder, *{str(Path(path).parent) for path in paths}])
    for path in map(Path, paths):
        renamed = Path(folder) / 'as.png'
        shutil.copyfile(path, renamed)
        for each in (path, renamed):
            with watch: outcome, words = read_one(each, Path(folder) / 'images')
            programs = [event for kind, event in watch.events if kind in ('program', 'pickle', 'socket')]
            if programs: trial.bad('executed', f'{path.name}: {programs[0]}')
            elif outcome in ('right', 'named', 'kept out'): trial.good(outcome)
            else: trial.bad(outcome, f'{path.name}: {words}')
    return trial.row()


def plan(short): return [f'{number:02}' for number in range(SHORT if short else MOST_TRIALS)]


def run(place: Place, names: list):
    "Nothing where the images cannot be had."
    source = place.data_dir or (None if place.short else fetch(place.work))  # in short nothing is downloaded
    if source is None: return print('pillow: skipped, no test images: pass --data-dir', flush=True)
    paths = sorted(path for path in source.rglob('*') if path.is_file() and not path.name.startswith('.'))
    def one(trial, server):
        part = paths[int(trial.name)::MOST_TRIALS]
        part = part[:IN_TRIAL] if place.short else part
        folder = place.work / trial.name
        ending = server.call('faults.pillow:read_many', folder, limit=600, paths=list(map(str, part)),
                             folder=folder)
        if ending.value: trial.add(ending.value)
        else: trial.bad('hung' if ending.hung else 'crashed', ending.words())
        shutil.rmtree(folder, ignore_errors=True)

    yield from side_by_side(names, one, place.jobs)


TEST = Test("Pillow's own test images, by name and as .png", 'right, or kept out under a name', plan, run)
