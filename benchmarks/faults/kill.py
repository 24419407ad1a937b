"""SIGKILL at any moment, and at every kind of moment in a save; each training goes on to the same end.

Half of the kills come at a random time, half at a file event of a save or up to five milliseconds later. A
victim may be killed again while it goes on. What counts as lost are the optimizer's steps that were taken
before the kill and are taken again; a save that was under way when the kill came is void, so that there the
interval begins at the save before it, and two intervals are the most that may be lost.
"""
import hashlib
import json
import os
import shutil
import time
import warnings
from pathlib import Path

from faults.aim import arm, read_log
from faults.bench import MAKING, Place, Test, read_json, side_by_side
from faults.runs_read import differences, newest_manifest

EVERY = 7  # steps between two saves
EPOCHS = 2  # of ten steps
WORKERS = (0, 1, 2, 4)
EXECUTORS = ('batched', 'albumentations')
MOST_KILLS = 3


def options(images: Path, runs: Path, seed: int, executor: str, **others) -> dict:
    "Of a training that takes about a second."
    given = dict(dataset='folder', data_dir=str(images), width=2, epochs=EPOCHS, batch_size=16, seed=seed,
                 save_every=EVERY, executor=executor, device='cpu', compile='no', runs_dir=str(runs),
                 progress=False)
    return given | others


def victim(folder: str, aim: dict | None = None, resume: str | None = None, **options) -> dict:
    "Train, or go on, to the end."
    import torch

    from s8lib.main import train
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    os.environ['XDG_CACHE_HOME'] = str(Path(folder).parent / 'cache')
    record = arm(Path(folder) / 'log.bin', 'checkpoints', **aim or {})
    note_saves(record)
    start = time.perf_counter()
    run = train(resume=resume, **options) if resume else train(**options)
    return dict(run=str(run.folder), weights=weights_digest(run.model), accuracy=run.predictions.accuracy,
                epochs=len(run.history), steps=record.steps,
                events=record.events, seconds=time.perf_counter() - start)


def note_saves(record):
    "Let a log know when a save begins, which may be before it has a file."
    from s8lib.checkpoints import Checkpoints
    put = Checkpoints.put

    def noted(checkpoints, copy):
        record.save()
        return put(checkpoints, copy)

    Checkpoints.put = noted


def weights_digest(model) -> str:
    "SHA-256 of a model's weights."
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def the_run(runs: Path) -> Path | None:
    "The folder of the run in a folder of runs that is its own."
    folders = [path for path in runs.iterdir() if path.is_dir()] if runs.exists() else []
    return folders[0] if folders else None


def undisturbed(place: Place, server, executor: str) -> dict:
    "What a training without a kill comes to; it is made once for all tests."
    folder = place.common / f'undisturbed-{executor}'
    with MAKING:
        result = read_json(folder / 'result.json')
        if result and result.get('value'): return result['value']
        shutil.rmtree(folder, ignore_errors=True)
        given = options(place.images, folder / 'runs', place.seed, executor)
        ending = server.call('faults.kill:victim', folder, folder=folder, **given)
        if not ending.value: raise RuntimeError(f'the undisturbed training failed: {ending.words()}')
        return ending.value


def undisturbed_run(place: Place, executor: str) -> Path:
    "The folder of the undisturbed training."
    return the_run(place.common / f'undisturbed-{executor}' / 'runs')


def _take_aim(random, reference, left):
    "Where to kill: seconds after the start, or an event of a save and a delay."
    if random.random() < .5: return None, random.uniform(0, reference['seconds'] * left)
    delay = random.choice([0, 0, random.uniform(0, .005)])
    return dict(event=random.randint(1, max(1, int(reference['events'] * left))), delay=delay), None


def _in_a_save(run):
    "Whether a save is half made: a part, or a file that no manifest can name yet."
    if run is None: return False
    numbers = [int(path.name[:6]) for path in (run / 'checkpoints').glob('[0-9]' * 6 + '.*')]
    newest = newest_manifest(run)
    return any((run / 'checkpoints').glob('*.part')) or max(numbers, default=-1) > (newest['number'] if newest
                                                                                    else -1)


def _kill(server, folder, arguments, aim, delay):
    "Start a victim, and let it be killed, or end before the shot."
    one = server.start('faults.kill:victim', folder, folder=folder, aim=aim, **arguments)
    if delay is not None:
        time.sleep(delay)
        one.kill()
    return one.wait()


def _saved_steps(run):
    "Optimizer's steps that are in the newest save, or 0."
    manifest = run and newest_manifest(run)
    if not manifest: return 0
    facts = json.dumps(manifest['facts'])
    steps = manifest['facts'].get('steps')
    if steps is None: raise KeyError(f'no steps in the facts of a manifest: {facts}')
    return steps


def _one(place, trial, server):
    random = place.random('kill', trial.name)
    executor = EXECUTORS[int(trial.name) % 2]
    reference = undisturbed(place, server, executor)
    folder = place.work / trial.name
    shutil.rmtree(folder, ignore_errors=True)
    change = int(trial.name) // 2 % 2  # half of them go on with another number of workers
    workers = random.choice(WORKERS)
    given = options(place.images, folder / 'runs', place.seed, executor, workers=workers)
    trial.facts = dict(executor=executor, kills=0, in_save=0, most_lost=0, more_than_interval=0,
                       workers=[workers])
    kills = random.choice((1, 1, 1, 2, MOST_KILLS))
    left = 1.
    for number in range(kills):
        aim, delay = _take_aim(random, reference, left)
        arguments = _arguments(folder, given, random, change, trial)
        before = _saved_steps(the_run(folder / 'runs'))
        ending = _kill(server, folder / str(number), arguments, aim, delay)
        if ending.error: return trial.bad('does not go on', ending.words())
        if ending.value: break
        _count(trial, folder, folder / str(number), before)
        left = 1 - _saved_steps(the_run(folder / 'runs')) / reference['steps'] or .01
    _end(place, trial, server, folder, _arguments(folder, given, random, change, trial), executor)


def _arguments(folder, given, random, change, trial):
    "Of a start where nothing was saved, or of going on."
    run = the_run(folder / 'runs')
    if run is None or newest_manifest(run) is None:
        shutil.rmtree(folder / 'runs', ignore_errors=True)
        return given
    workers = random.choice(WORKERS) if change else given['workers']
    trial.facts['workers'].append(workers)
    return dict(resume=str(run), workers=workers)


def _count(trial, folder, victims, before):
    "Note what the kill has cost."
    run = the_run(folder / 'runs')
    log = read_log(victims / 'log.bin')
    saved = _saved_steps(run)
    in_save = _in_a_save(run) or before + log['begun'] > saved
    lost = before + log['steps'] - saved
    facts = trial.facts
    facts['kills'] += 1
    facts['in_save'] += in_save
    facts['most_lost'] = max(facts['most_lost'], lost)
    if lost > (1 + in_save) * EVERY: trial.bad('more than one interval lost', f'{lost} steps')
    facts['more_than_interval'] += lost > EVERY


def _end(place, trial, server, folder, arguments, executor):
    "Let it end, and compare."
    ended = server.call('faults.kill:victim', folder / 'end', folder=folder / 'end', **arguments)
    if not ended.value: return trial.bad('does not go on', ended.words())
    words = differences(Path(ended.value['run']), undisturbed_run(place, executor))
    if words: return trial.bad('another end', '; '.join(words))
    trial.good('equal to the bit')
    shutil.rmtree(folder)


def plan(short): return [f'{number:03}' for number in range(4 if short else 200)]


def run(place: Place, names: list):
    def one(trial, server): _one(place, trial, server)

    yield from side_by_side(names, one, place.jobs)


TEST = Test('SIGKILL at random times and in saves, workers 0 to 4, both executors',
            'all go on and end equal to the bit',
            plan, run)
