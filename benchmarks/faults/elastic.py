"""Two processes under torchrun, one of them killed at random: both start again, and go on by themselves.

Each process calls `train` with the same options, as the command does; the end must be that of two processes
that nobody disturbed. A process is killed between the moment the run's folder is there and the end; where the
training was faster than the shot, the trial is made again with an earlier one.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from faults.bench import HERE, LIBRARY, Place, Test, one_by_one, read_json
from faults.kill import EVERY, options, the_run
from faults.runs_read import differences, newest_manifest

EPOCHS = 8
LAUNCH = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2',
          '--max-restarts', '3']
LONGEST = 180  # seconds
SCRIPT = 'import json, sys; from s8lib import train; train(**json.loads(sys.argv[1]))\n'


def _start(folder, images, seed):
    "Start the training, its output in a file."
    given = options(images, folder / 'runs', seed, 'batched', epochs=EPOCHS)
    variables = dict(OMP_NUM_THREADS='1', MPLBACKEND='agg', PYTHONPATH=f'{LIBRARY.parent}:{HERE.parent}',
                     XDG_CACHE_HOME=str(folder.parent / 'cache'))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'train.py').write_text(SCRIPT, encoding='utf-8')
    command = [*LAUNCH, str(folder / 'train.py'), json.dumps(given)]
    with (folder / 'log.txt').open('w') as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | variables,
                                start_new_session=True)


def _children(pid):
    "Processes whose parent this is, the oldest first."
    found = []
    for path in Path('/proc').glob('[0-9]*/stat'):
        try: fields = path.read_text().rpartition(')')[2].split()
        except OSError: continue
        if int(fields[1]) == pid: found.append((int(fields[19]), int(path.parent.name)))
    return [child for _, child in sorted(found)]


def _wait_for_run(folder, process, start):
    "Until something was saved; seconds since the start."
    while time.perf_counter() - start < LONGEST and process.poll() is None:
        run = the_run(folder / 'runs')
        if run and newest_manifest(run): break
        time.sleep(.02)
    return time.perf_counter() - start


def _wait_for_end(folder, process, start):
    "Until the last epoch is saved; seconds since the start."
    while process.poll() is None and newest_manifest(the_run(folder / 'runs'))['facts']['epoch'] < EPOCHS:
        time.sleep(.02)
    return time.perf_counter() - start


def _finish(process):
    "The exit code, or None for a process that hangs, which is killed."
    try: return process.wait(LONGEST)
    except subprocess.TimeoutExpired: return None
    finally:
        try: os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError: pass


def _undisturbed(place, images):
    "The training that nobody disturbs, made once, and the seconds from its first save to its end."
    folder = place.work / 'undisturbed'
    seconds = read_json(folder / 'seconds.json')
    if seconds is None:
        shutil.rmtree(folder, ignore_errors=True)
        start = time.perf_counter()
        process = _start(folder, images, place.seed)
        begun = _wait_for_run(folder, process, start)
        seconds = _wait_for_end(folder, process, start) - begun
        if _finish(process) != 0: raise RuntimeError((folder / 'log.txt').read_text()[-2000:])
        (folder / 'seconds.json').write_text(str(seconds), encoding='utf-8')
    return the_run(folder / 'runs'), seconds


def _one(place, trial, images):
    "One training of which a process is killed."
    reference, seconds = _undisturbed(place, images)
    random = place.random('elastic', trial.name)
    folder = place.work / trial.name
    for attempt in range(3):
        shutil.rmtree(folder, ignore_errors=True)
        process = _start(folder, images, place.seed)
        _wait_for_run(folder, process, time.perf_counter())
        time.sleep(random.uniform(0, .95 * seconds / 2 ** attempt))
        victims = _children(process.pid)
        victim = random.choice(victims) if victims else None
        run = the_run(folder / 'runs')
        before = newest_manifest(run) if run else None
        if victim: os.kill(victim, signal.SIGKILL)
        code = _finish(process)
        if victim and before and before['facts']['epoch'] < EPOCHS: break
    log = (folder / 'log.txt').read_text(errors='replace')
    trial.facts = dict(code=code, epoch=before and before['facts']['epoch'], attempts=attempt + 1,
                       rank=victims.index(victim) if victim else None)
    if code is None: return trial.bad('hung', log[-1000:])
    if code: return trial.bad('does not go on', log[-1500:])
    runs = list((folder / 'runs').iterdir())
    if len(runs) != 1: return trial.bad('begun anew', f'{[run.name for run in runs]}')
    words = differences(runs[0], reference)
    if words: return trial.bad('another end', '; '.join(words))
    trial.good('gone on to the same end')
    shutil.rmtree(folder)


def plan(short): return [f'{number:02}' for number in range(1 if short else 20)]


def run(place: Place, names: list):
    images = place.images
    yield from one_by_one(names, lambda trial: _one(place, trial, images))


TEST = Test(f'a process of two under torchrun killed, saves each {EVERY} steps',
            'restarted, gone on, and equal to two undisturbed ones',
            plan, run)
