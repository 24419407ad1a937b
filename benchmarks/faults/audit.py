"""What the readers do beside reading: programs, pickles, sockets, files elsewhere, over mutated inputs.

Image files go to `read_image` and `image_folder`, run folders to `open_run`, batches and archives to the
CIFAR-10 reader, caches to `image_folder`. Every process has one audit hook (see `watch`, which states the
rule for files). Python's hook sees no C library, so a part of the inputs is read again under `strace`, which
sees every `execve`, `connect` and `open` of the process; without strace, or where it may not trace, that part
is left out and said.
"""
import random
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from functools import partial
from pathlib import Path

from faults.bench import HERE, LIBRARY, Place, Test, Trial, is_named, make_images, side_by_side
from faults.cifar10_files import ADMITTED, good_batch
from faults.damage import Patient
from faults.flips import make_runs
from faults.strange_files import COMMON, POSTSCRIPT, TEXTS, encoded, fuzzed_bytes
from faults.watch import Watch

INPUTS = dict(images=900, folders=500, runs=100, pickles=500, caches=50)  # of a trial
TRIALS = dict(images=95, folders=10, runs=40, pickles=10, caches=10)
SEEDS = [encoded(kind) for kind in COMMON]
OPCODES = [b'cos\nsystem\n', b'cposix\nsystem\n', b'csubprocess\nPopen\n', b'cbuiltins\neval\n',
           b'cnumpy\nload\n', b'ctorch\nload\n',
           b'cshutil\nrmtree\n', b'c_codecs\nencode\n', b'cnumpy.core.multiarray\n_reconstruct\n',
           b'cnumpy\nndarray\n', b'R', b'(', b't',
           b'.', b'b', b'\x81', b'\x93', b'i', b'o', b'\x82\x01', b"(S'touch executed'\ntR."]


def _count(trial, words, events, error):
    "Note what came of one input."
    for kind, event in events: trial.bad(kind, f'{words}: {event}')
    if events: return
    if error is None: trial.good('read')
    elif is_named(error): trial.good('named')
    else: trial.good('another error')  # which is the business of `hostile`


def _ask(trial, watch, words, read):
    "Read one input under the eyes of the hook."
    error = None
    with watch:
        try: read()
        except Exception as raised: error = raised
    _count(trial, words, list(watch.events), error)


def mutated_image(draw: random.Random) -> bytes:
    "An image file that was changed, two spliced, or something that is none."
    kind = draw.random()
    if kind < .8: return fuzzed_bytes(draw.choice(SEEDS), draw)
    if kind < .9:
        first, second = draw.choice(SEEDS), draw.choice(SEEDS)
        return first[:draw.randrange(len(first))] + second[draw.randrange(len(second)):]
    return fuzzed_bytes(draw.choice([POSTSCRIPT, *TEXTS.values()]) or b'\0', draw)


def read_images(folder: str, key: str, count: int) -> dict:
    "Mutated image files, one by one."
    from s8lib.image_files import Reading, read_image
    path = Path(folder) / 'input.png'
    trial = Trial(key)
    watch = Watch([folder])
    for data in SEEDS:
        path.write_bytes(data)
        read_image(path)
    for number in range(count):
        path.write_bytes(mutated_image(random.Random(f'{key} {number}')))
        _ask(trial, watch, f'image {key} {number}', lambda: read_image(path, Reading(32)))
    return trial.row()


def read_folders(folder: str, key: str, count: int) -> dict:
    "The same in a folder of images, fifty at a time."
    from s8lib.image_files import Reading
    from s8lib.image_folder import image_folder
    root = Path(folder) / 'images'
    trial = Trial(key)
    watch = Watch([folder])
    for number in range(-1, count // 50):
        shutil.rmtree(root, ignore_errors=True)
        for place in range(50):
            path = root / 'train' / 'ab'[place % 2] / f'{place}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            is_good = place < 30 or number < 0
            path.write_bytes(encoded('PNG') if is_good
                             else mutated_image(random.Random(f'{key} {number} {place}')))
        if number < 0: image_folder(root, 'train', Reading(32), cache=False)
        else: _ask(trial, watch, f'folder {key} {number}',
                   lambda: image_folder(root, 'train', Reading(32), cache=False))
    trial.outcomes = Counter({outcome: 50 * times for outcome, times in trial.outcomes.items()})
    return trial.row()


def read_runs(folder: str, key: str, count: int, template: str, other: str) -> dict:
    "Damaged folders of runs."
    from s8lib.main import open_run
    trial = Trial(key)
    watch = Watch([folder])
    patient = Patient(Path(template), Path(folder) / 'run')
    open_run(patient.run, device='cpu')
    for number in range(count):
        words = patient.damage(random.Random(f'{key} {number}'), Path(other))
        _ask(trial, watch, words, lambda: open_run(patient.run, device='cpu'))
        patient.heal()
    return trial.row()


def mutated_batch(draw: random.Random) -> bytes:
    "A batch with bytes changed and calls put in."
    data = fuzzed_bytes(good_batch(draw.choice((0, 2, 4))), draw) if draw.random() < .7 else b''
    for _ in range(draw.randrange(1, 5)):
        at = draw.randrange(len(data) + 1)
        data = data[:at] + draw.choice(OPCODES) + data[at:]
    return data


def read_batches(folder: str, key: str, count: int) -> dict:
    "Mutated pickles for the reader of CIFAR-10's batches."
    from s8lib.cifar10 import read_batch
    trial = Trial(key)
    watch = Watch([folder], ADMITTED)
    for protocol in (2, 4): read_batch(good_batch(protocol), Path(folder))
    for number in range(count):
        data = mutated_batch(random.Random(f'{key} {number}'))
        _ask(trial, watch, f'batch {key} {number}', partial(read_batch, data, Path(folder)))
    return trial.row()


def read_caches(folder: str, key: str, count: int) -> dict:
    "Damaged caches of decoded images: the images must be the same, whatever is in the cache."
    import os

    import numpy as np

    from s8lib.datasets import image_folder
    os.environ['XDG_CACHE_HOME'] = str(Path(folder) / 'cache')
    images = make_images(Path(folder) / 'images', 2)
    truth = image_folder(images, 'train').images
    trial = Trial(key)
    watch = Watch([folder])
    for number in range(count):
        draw = random.Random(f'{key} {number}')
        files = sorted(path for path in (Path(folder) / 'cache').rglob('*') if path.is_file())
        path = draw.choice(files)
        path.write_bytes(fuzzed_bytes(path.read_bytes() or b'\0', draw))
        _ask(trial, watch, f'cache {path.name}', lambda: image_folder(images, 'train'))
        if not np.array_equal(image_folder(images, 'train').images, truth):
            trial.bad('silent', f'cache {path.name}')
    return trial.row()


READERS = dict(images=read_images, folders=read_folders, runs=read_runs, pickles=read_batches,
               caches=read_caches)


def read_many(kind: str, folder: str, key: str, count: int, **others) -> dict:
    "The inputs of one trial."
    import os
    warnings.simplefilter('ignore')
    Path(folder).mkdir(exist_ok=True)
    os.chdir(folder)
    row = READERS[kind](folder, key, count, **others)
    if list(Path(folder).rglob('executed')): row['failures'].append('executed: a file was made')
    return row


def traced(kind: str, folder: Path, key: str, count: int, trial: Trial, others: dict):
    "The same under strace: what the process starts, connects to and opens, C libraries included."
    folder.mkdir(parents=True)
    log = folder / 'strace.txt'
    arguments = f'{kind!r}, {str(folder / "work")!r}, {key!r}, {count}, **{others!r}'
    call = f'import faults.warm, faults.audit; faults.audit.read_many({arguments})'
    command = ['strace', '-f', '-qq', '-o', log, '-e', 'trace=execve,connect,open,openat,creat,unlink,rename',
               sys.executable, '-c', call]
    variables = dict(PYTHONPATH=f'{HERE.parent}:{LIBRARY.parent}', OMP_NUM_THREADS='1', PATH='/usr/bin:/bin',
                     MPLBACKEND='agg')
    (folder / 'work').mkdir()
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    if done.returncode: return trial.bad('the bench failed', done.stderr[-500:])
    lines = log.read_text(errors='replace').splitlines()
    begun = next(number for number,
                 line in enumerate(lines) if 'input' in line or str(folder / 'work') in line)
    for line in lines[begun:]:
        if 'execve(' in line or 'connect(' in line: trial.bad('a program or a socket', line)
    trial.outcomes['traced'] += count


def plan(short):
    names = [f'{kind} {number:03}' for kind,
             count in TRIALS.items() for number in range(1 if short else count)]
    has_strace = shutil.which('strace') is not None
    return names + [f'traced {kind}' for kind in ('images', 'runs', 'pickles') if has_strace and not short]


def run(place: Place, names: list):
    def one(trial, server):
        first, second = trial.name.split()
        kind = second if first == 'traced' else first
        folder = place.work / trial.name.replace(' ', '-')
        shutil.rmtree(folder, ignore_errors=True)
        others = {}
        if kind == 'runs':
            runs = make_runs(place, server)
            others = dict(template=str(runs['one']), other=str(runs['two']))
        key = f'{place.seed} {trial.name}'
        if first == 'traced': return traced(kind, folder, key, INPUTS[kind], trial, others)
        ending = server.call('faults.audit:read_many', folder, limit=300, kind=kind, folder=folder / 'work',
                             key=key,
                             count=INPUTS[kind] // (5 if place.short else 1), **others)
        if ending.value: trial.add(ending.value)
        else: trial.bad('hung' if ending.hung else 'crashed', ending.words())
        shutil.rmtree(folder)

    yield from side_by_side(names, one, place.jobs)


TEST = Test('mutated image files, runs, pickles and caches under an audit hook',
            'no program, pickle, socket, or file elsewhere',
            plan, run)
