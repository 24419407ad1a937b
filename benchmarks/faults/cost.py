"""What saving costs, and how long a run takes to go on: timings, for a quiet machine.

The cost is measured at width 64 on drawn shapes with all threads: the same epoch with a save each 50 steps
and with saves switched off, in turn, each pair beginning with the other one; the figure is the median of the
paired quotients of the seconds between the first and the last step of the epoch. Beside it stands what the
training's thread itself spent in `Checkpoints`, which is less noisy, and does not see what the writing thread
takes away.

The time to go on is from the call of `train(resume=…)` to its first optimizer's step, everything being
imported.
"""
import os
import shutil
import signal
import statistics
import time
import warnings
from pathlib import Path

from faults.bench import Place, Test, borrowed_server, one_by_one
from faults.kill import the_run

EVERY = 50
NEVER = 10**9
STEPS = 125  # of an epoch of 2,000 images in batches of 16
PAIRS = 3
MOST_COST = .01
MOST_SECONDS = 3.


def _options(folder: str, every: int, width: int, **others) -> dict:
    return dict(dataset='shapes', width=width, epochs=1, batch_size=16, save_every=every, runs_dir=folder,
                device='cpu', compile='no',
                progress=False, **others)


def epoch(folder: str, every: int, width: int, threads: int) -> dict:
    "Seconds from the first to the last step of an epoch, and those that its thread spent on saves."
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from s8lib.checkpoints import Checkpoints
    from s8lib.main import train
    torch.set_num_threads(threads)
    warnings.simplefilter('ignore')
    times = []
    spent = []
    register_optimizer_step_post_hook(lambda *call: times.append(time.perf_counter()))
    put = Checkpoints.put
    def timed_put(self, copy):
        start = time.perf_counter()
        put(self, copy)
        spent.append(time.perf_counter() - start)

    Checkpoints.put = timed_put
    run = train(**_options(folder, every, width))
    num_bytes = sum(path.stat().st_size for path in (run.folder / 'checkpoints').iterdir())
    return dict(seconds=times[-1] - times[0], on_saves=sum(spent[:-1]), saves=len(spent) - 1,
                megabytes=num_bytes / 1e6)


def cut_off(folder: str, width: int, threads: int):
    "A run that Ctrl-C stops after three steps."

    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from s8lib.main import train
    torch.set_num_threads(threads)
    warnings.simplefilter('ignore')
    steps = []
    def on_step(*call):
        steps.append(1)
        if len(steps) == 3: os.kill(os.getpid(), signal.SIGTERM)

    register_optimizer_step_post_hook(on_step)
    train(**_options(folder, EVERY, width))


def go_on(run: str, threads: int):
    "Seconds from the call to the first step."

    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from s8lib.main import train
    torch.set_num_threads(threads)
    warnings.simplefilter('ignore')
    def on_step(*call):
        (Path(run).parent / 'seconds.txt').write_text(str(time.perf_counter() - start))
        os._exit(0)

    register_optimizer_step_post_hook(on_step)
    start = time.perf_counter()
    train(resume=run, progress=False)


def _pair(place, server, folder, threads, order):
    "An epoch with saves and one without, in this order."
    told = {}
    for every in order:
        ending = server.call('faults.cost:epoch', folder, limit=1800, folder=folder / 'runs', every=every,
                             width=_width(place),
                             threads=threads)
        if not ending.value: raise RuntimeError(ending.words())
        told[every] = ending.value
        shutil.rmtree(folder)
    without = told[NEVER]['seconds']
    return dict(cost=told[EVERY]['seconds'] / without - 1, in_thread=told[EVERY]['on_saves'] / without,
                with_saves=told[EVERY],
                without=told[NEVER])


def _width(place): return 16 if place.short else 64


def _cost(place, trial, server, threads):
    "The median of the pairs; in short one pair, which is too few to judge."
    orders = [(EVERY, NEVER), (NEVER, EVERY)] * PAIRS
    pairs = [_pair(place, server, place.work / 'pair', threads,
                   order) for order in orders[:1 if place.short else PAIRS]]
    cost, in_thread = (statistics.median(pair[name] for pair in pairs) for name in ('cost', 'in_thread'))
    trial.facts = dict(pairs=pairs, width=_width(place), cost=cost, in_thread=in_thread)
    words = f'{cost:+.2%} by the clock, {in_thread:.2%} in the thread'
    if cost > MOST_COST and not place.short: trial.bad('more than 1%', words)
    else: trial.good(words)


def _go_on(place, trial, server, threads):
    "A run that was cut off, gone on with."
    folder = place.work / trial.name.replace(' ', '-')
    shutil.rmtree(folder, ignore_errors=True)
    width = _width(place)
    server.call('faults.cost:cut_off', folder, limit=600, folder=folder / 'runs', width=width,
                threads=threads)
    run = the_run(folder / 'runs')
    ending = server.call('faults.cost:go_on', folder, limit=600, run=str(run), threads=threads)
    file = folder / 'runs/seconds.txt'
    if not file.exists(): return trial.bad('failed', ending.words())
    seconds = float(file.read_text())
    trial.facts = dict(seconds_to_go_on=seconds, width=width)
    if seconds > MOST_SECONDS and not place.short: trial.bad('too slow', f'{seconds:.2f} s')
    else: trial.good(f'goes on in {seconds:.1f} s')
    shutil.rmtree(folder)


def plan(short): return ['resume 0'] if short else ['cost', 'resume 0', 'resume 1', 'resume 2']


def run(place: Place, names: list):
    threads = os.cpu_count()
    with borrowed_server(OMP_NUM_THREADS=str(threads)) as server:
        def one(trial): (_cost if trial.name == 'cost' else _go_on)(place, trial, server, threads)

        yield from one_by_one(names, one)


TEST = Test('the cost of a save each 50 steps, and the time to go on (quiet machine)',
            'at most 1% of the time; at most three seconds',
            plan, run)
