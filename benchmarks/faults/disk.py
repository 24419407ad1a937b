"""A disk that fills up, becomes read-only, vanishes or refuses long files, at seven moments of a training.

Good is a training that is refused under a name before its first step, or one that comes back with the model
and the figures of the undisturbed one, with a warning of the library where what is on the disk is not all of
it. When the disk is well again, what is there must open under its own figures, or be refused, and go on to
the same end.

A full disk is a tmpfs, a read-only one a bind mount in the victim's own mount namespace; both need root, and
are left out elsewhere. A quota is `RLIMIT_FSIZE`: no file may become longer.
"""
import contextlib
import ctypes
import errno
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

from faults.aim import arm
from faults.bench import Place, Test, is_named, side_by_side
from faults.kill import options, the_run, undisturbed, undisturbed_run, weights_digest
from faults.runs_read import contents, newest_manifest

MOMENTS = ('before', 'first save', 'mid-epoch', 'in a save', 'epoch end', 'last step', 'report')
LEFT_OVER = (0, 1, 4096, 20_000, 300_000)  # bytes that stay free on a full disk, or are allowed by the quota
SIZE = '64m'  # of the tmpfs


def fill(folder: Path, left: int):
    "Take all space but so many bytes."
    with (folder / 'ballast').open('wb', buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while True: file.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC: raise
    if left: os.truncate(folder / 'ballast', max(0, (folder / 'ballast').stat().st_size - left))


def make_read_only(folder: Path, left: int):
    "Let this process see the folder read-only, whatever its rights."
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(0x00020000): raise OSError(ctypes.get_errno(), 'unshare')  # CLONE_NEWNS
    name = os.fsencode(folder)
    private, bind, remount, read_only = 0x40000 | 0x4000, 0x1000, 0x20, 1
    for call in ((None, b'/', None, private, None), (name, name, None, bind, None),
                 (None, name, None, bind | remount | read_only, None)):
        if library.mount(*call): raise OSError(ctypes.get_errno(), f'mount {call}')


def remove(folder: Path, left: int):
    "Remove all that is in the folder, and the folder."
    shutil.rmtree(folder)


def limit(folder: Path, left: int):
    "No file may become longer."
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(left, 4096), resource.RLIM_INFINITY))


WAYS = dict(full=fill, read_only=make_read_only, removed=remove, quota=limit)


def _set_off(moment, strike, record):
    "Let the disk fail at a moment: a step, a file event of a save."
    from torch.optim.optimizer import register_optimizer_step_post_hook
    begun = []
    def once():
        if not begun:
            begun.append(True)
            strike()

    def on_event(event, arguments):
        if event not in ('open', 'os.rename', 'os.mkdir') or begun: return
        if not any(isinstance(path, (str, os.PathLike)) and 'checkpoints' in str(path)
                   for path in arguments[:2]): return
        if moment == 'first save' or record.steps >= 7: once()

    steps = {'mid-epoch': 5, 'epoch end': 10, 'last step': 20}
    if moment == 'before': once()
    elif moment in steps:
        register_optimizer_step_post_hook(lambda *call: record.steps >= steps[moment] and once())
    elif moment in ('first save', 'in a save'): sys.addaudithook(on_event)


def victim(folder: str, disk: str, way: str, moment: str, left: int, options: dict) -> dict:
    "Train on a disk that fails, and say what came back."
    import numpy as np
    import torch

    from s8lib.main import save_report, train
    from s8lib.predictions import predict
    torch.set_num_threads(1)
    record = arm(Path(folder) / 'log.bin', 'checkpoints')
    strike = lambda: WAYS[way](Path(disk), left)
    _set_off(moment, strike, record)
    told = dict(error=None, named=False, steps=0, model=False, warned=[], report=None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        try:
            run = train(**options)
            again = predict(run.model, run.test)
            told['model'] = bool(torch.equal(again.logits, run.predictions.logits) or
                                 np.allclose(again.logits, run.predictions.logits, atol=1e-4))
            told['figures'] = [run.history[-1]['test_accuracy'], run.predictions.accuracy, len(run.history)]
            told['weights'] = weights_digest(run.model)
        except Exception as error:
            told |= dict(error=f'{type(error).__name__}: {error}', named=is_named(error))
        else: told['report'] = _report(lambda: save_report(run), strike if moment == 'report' else None)
    told['steps'] = record.steps
    told['warned'] = [each.category.__name__ for each in caught
                      if each.category.__module__.startswith('s8lib')]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    return told


def _report(save, strike):
    "What came of the report: 'written', 'named', or the error."
    if strike: strike()
    try: save()
    except Exception as error: return 'named' if is_named(error) else f'{type(error).__name__}: {error}'
    return 'written'


def look_again(run: str, go_on: bool) -> dict:
    "Open what is on the disk, test it, and go on with it to the end."
    import torch

    from s8lib.main import open_run, train
    from s8lib.predictions import predict
    warnings.simplefilter('ignore')
    told = dict(opened=None, same=None, went_on=None)
    try:
        opened = open_run(run, load_images=True, device='cpu')
        told['opened'] = len(opened.history)
        again = predict(opened.model, opened.test)
        told['same'] = bool(torch.allclose(again.logits, opened.predictions.logits, atol=1e-4)) and \
            opened.predictions.accuracy == opened.history[-1]['test_accuracy']
    except Exception as error: told['opened'] = f'{is_named(error)} {type(error).__name__}: {error}'
    if go_on:
        try: train(resume=run, progress=False)
        except Exception as error: told['went_on'] = f'{is_named(error)} {type(error).__name__}: {error}'
    return told


def judge(trial, told: dict, reference: dict):
    "What a training on a failing disk must come to."
    if told['error'] and not told['named']: return trial.bad('without a name', told['error'])
    if told['error'] and told['steps']:
        return trial.bad('lost', f"after {told['steps']} steps: {told['error']}")
    if told['error']: return trial.good('refused before the first step')
    if not told['model'] or told['figures'][0] != told['figures'][1]:
        return trial.bad('other figures', f'{told}')
    if told['weights'] != reference['weights']: return trial.bad('another model', f'{told}')
    if told['report'] not in ('written', 'named'): return trial.bad('report without a name', told['report'])
    trial.good('the model came back, and it is warned' if told['warned'] else 'the model came back')


def judge_disk(trial, told: dict, run: Path, reference_run: Path):
    "What is on the disk must open under its own figures, or be refused, and go on to the same end."
    for name in ('opened', 'went_on'):
        if isinstance(told[name], str) and told[name].startswith('False'):
            return trial.bad('afterwards without a name', told[name])
    if told['same'] is False: return trial.bad('afterwards other figures', f'{told}')
    if told['went_on'] is None and contents(run) != contents(reference_run):
        trial.bad('afterwards another end', f'{told}')


@contextlib.contextmanager
def _disk(folder, way):
    "A folder on the disk that is going to fail."
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if way == 'full':
        subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={SIZE}', 'tmpfs', str(folder)], check=True)
    try: yield folder
    finally:
        if way == 'full': subprocess.run(['umount', '-l', str(folder)], check=True)
        shutil.rmtree(folder, ignore_errors=True)


def _one(place, trial, server):
    way, moment, number = trial.name.split(', ')
    reference = undisturbed(place, server, 'batched')
    reference_run = undisturbed_run(place, 'batched')
    left = LEFT_OVER[int(number) % len(LEFT_OVER)]
    notes = place.work / trial.name.replace(' ', '-').replace(',', '')
    start = time.perf_counter()
    with _disk(place.work / f'disk-{threading.get_ident()}', way) as disk:
        given = options(place.images, disk / 'runs', place.seed, 'batched')
        ending = server.call('faults.disk:victim', notes, folder=notes, disk=disk, way=way, moment=moment,
                             left=left, options=given)
        if not ending.value: return trial.bad('hung' if ending.hung else 'crashed', ending.words())
        told = ending.value
        trial.facts = dict(left=left, told=told, wall=time.perf_counter() - start)
        judge(trial, told, reference)
        (disk / 'ballast').unlink(missing_ok=True)
        run = the_run(disk / 'runs')
        if run and newest_manifest(run):
            again = server.call('faults.disk:look_again', notes, run=str(run), go_on=True)
            if again.value: judge_disk(trial, again.value, run, reference_run)
            else: trial.bad('afterwards crashed', again.words())
    if not trial.num_failed: shutil.rmtree(notes, ignore_errors=True)


def ways() -> list:
    "The ways that this machine allows."
    may_mount = sys.platform == 'linux' and os.geteuid() == 0 and shutil.which('mount')
    return list(WAYS) if may_mount else ['removed', 'quota']


def plan(short):
    count = 1 if short else len(LEFT_OVER)
    names = [f'{way}, {moment}, {number}' for way in ways() for moment in MOMENTS
             for number in range(count if way in ('full', 'quota') else 1)]
    return names[::5] if short else names


def run(place: Place, names: list):
    def one(trial, server): _one(place, trial, server)

    yield from side_by_side(names, one, place.jobs)


TEST = Test('full, read-only, removed and limited disks at seven moments',
            'refused before the first step, or the tested model comes back',
            plan, run)
