"""Damage to the files of a run: what is read is right, or refused under a name.

A finished run is opened after each damage, and must give weights, history, predictions and configuration to
the bit as before, or an `S8Error`. A run that was cut off in the midst of an epoch goes on after each damage,
and must end as the undisturbed one, or refuse.
"""
import hashlib
import json
import random
import shutil
import warnings
from pathlib import Path

from faults.bench import MAKING, Place, Test, Trial, is_named, side_by_side
from faults.damage import Patient
from faults.kill import options, the_run
from faults.runs_read import contents

INPUTS = 100  # of a trial that opens
RESUMED = 10  # of a trial that goes on


def digest_of(run) -> str:
    "Everything that `open_run` gives, as one number."
    digest = hashlib.sha256()
    for name, value in sorted(run.model.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    predictions = run.predictions
    for part in (predictions.logits, predictions.labels, predictions.losses):
        digest.update(part.numpy().tobytes())
    rest = [run.history, list(predictions.classes), run.config, vars(run.options)]
    digest.update(json.dumps(rest, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def train_run(runs: str, images: str, seed: int, stop_at: int | None = None) -> dict:
    "A finished run with its report, or one that a signal has cut off at a step."
    import os
    import signal

    from torch.optim.optimizer import register_optimizer_step_post_hook

    from s8lib.main import save_report, train
    warnings.simplefilter('ignore')
    steps = iter(range(1, 10**6))
    def on_step(*call):
        if next(steps) == stop_at: os.kill(os.getpid(), signal.SIGINT)
    if stop_at: register_optimizer_step_post_hook(on_step)
    run = train(**options(Path(images), Path(runs), seed, 'batched'))
    if not stop_at: save_report(run)
    return dict(folder=str(run.folder))


def open_many(template: str, other: str, folder: str, key: str, count: int) -> dict:
    "Damage a copy of a run again and again, open it each time, and count what came of it."
    from s8lib.main import open_run
    warnings.simplefilter('ignore')
    truth = digest_of(open_run(template, device='cpu'))
    patient = Patient(Path(template), Path(folder) / 'run')
    trial = Trial(key)
    for number in range(count):
        words = patient.damage(random.Random(f'{key} {number}'), Path(other))
        try:
            run = open_run(patient.run, device='cpu')
            object.__setattr__(run, 'folder', template)
            if digest_of(run) == truth: trial.good('harmless')
            else: trial.bad('silent', words)
        except Exception as error:
            if is_named(error): trial.good('named')
            else: trial.bad('without a name', f'{words}: {type(error).__name__}: {error}')
        patient.heal()
    return trial.row()


def resume_once(template: str, other: str, folder: str, key: str, reference: str) -> dict:
    "Damage a copy of a run that was cut off, and let it go on."
    from s8lib.main import train
    warnings.simplefilter('ignore')
    patient = Patient(Path(template), Path(folder) / 'run')
    words = patient.damage(random.Random(key), Path(other))
    trial = Trial(key)
    try:
        train(resume=str(patient.run), progress=False)
        if contents(patient.run) == contents(Path(reference)): trial.good('goes on to the same end')
        else: trial.bad('another end', words)
    except Exception as error:
        if is_named(error): trial.good('named')
        else: trial.bad('without a name', f'{words}: {type(error).__name__}: {error}')
    return trial.row()


def make_runs(place: Place, server) -> dict:
    "Two finished runs of different seeds, and one that was cut off; made once for all tests."
    with MAKING: return _make_runs(place, server)


def _make_runs(place, server):
    made = {}
    for name, seed, stop_at in (('one', 1, None), ('two', 2, None), ('cut', 1, 17)):
        runs = place.common / 'runs' / name
        if not (place.common / f'make-{name}' / 'result.json').exists():
            shutil.rmtree(runs, ignore_errors=True)
            ending = server.call('faults.flips:train_run', place.common / f'make-{name}', runs=runs,
                                 images=place.images, seed=seed, stop_at=stop_at)
            if not ending.value:
                shutil.rmtree(runs, ignore_errors=True)
                raise RuntimeError(f'the run cannot be made: {ending.words()}')
        made[name] = the_run(runs)
    return made


def plan(short):
    if short: return ['open 000', 'open 001', 'resume 000']
    return [f'open {number:03}' for number in range(97)] + [f'resume {number:03}' for number in range(30)]


def run(place: Place, names: list):
    def one(trial, server):
        runs = make_runs(place, server)
        folder = place.work / trial.name.replace(' ', '-')
        shutil.rmtree(folder, ignore_errors=True)
        key = f'{place.seed} {trial.name}'
        if trial.name.startswith('open'):
            calls = [('open_many', dict(template=runs['one'], other=runs['two'], folder=folder, key=key,
                                        count=INPUTS))]
        else:
            calls = [('resume_once', dict(template=runs['cut'], other=runs['two'],
                                          folder=folder / str(number), key=f'{key} {number}',
                                          reference=runs['one']))
                                          for number in range(2 if place.short else RESUMED)]
        for number, (function, arguments) in enumerate(calls):
            ending = server.call(f'faults.flips:{function}', folder / str(number), limit=200, **arguments)
            if ending.value: trial.add(ending.value)
            else: trial.bad('hung' if ending.hung else 'crashed', f'{key} {number} {ending.words()}')
        shutil.rmtree(folder)

    yield from side_by_side(names, one, 1)


TEST = Test('bits, bytes, ends, swapped files, edited JSON in the folder of a run', 'right or named', plan,
            run)
