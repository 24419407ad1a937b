"""SIGINT, SIGTERM and SIGHUP, once to three times, in a terminal process and in a Jupyter kernel.

The terminal process is the command `s8lib train` under a pseudo-terminal of its own, where Ctrl-C is typed;
the others are sent, at a random time, at a file event of a save, or at a batch of a test. The kernel is an
ipykernel that `jupyter_client` starts and interrupts. Good is a process that ends in time, whose run opens
with the model that its figures were measured with, and goes on to the end of the undisturbed training. Where
the signal came before anything was saved there is nothing to keep, and the training is begun anew.
"""
import contextlib
import json
import os
import shutil
import signal
import sys
import termios
import threading
import time
import warnings
from pathlib import Path

from faults.aim import arm, read_log
from faults.bench import HERE, LIBRARY, Place, Test, borrowed_server, one_by_one, side_by_side
from faults.kill import options, the_run, undisturbed, undisturbed_run
from faults.runs_read import differences, newest_manifest

SIGNALS = ('SIGINT', 'SIGTERM', 'SIGHUP', 'Ctrl-C')
EXPECTED = dict(SIGINT=(0, 130, -2), SIGTERM=(143, -15), SIGHUP=(129, -1))
EXPECTED['Ctrl-C'] = EXPECTED['SIGINT']


def command_line(options: dict) -> list:
    "The words of `s8lib train` for these options."
    words = ['train']
    for name, value in options.items():
        flag = name.replace('_', '-')
        words += [f'--{flag}' if value else f'--no-{flag}'] if isinstance(value, bool) else [f'--{flag}',
                                                                                             str(value)]
    return words


def terminal(folder: str, terminal: str, words: list, aim: dict):
    "The command in a process whose terminal is the given one; ends as the command ends."
    descriptor = os.open(terminal, os.O_RDWR)  # of the leader of a session it becomes the controlling one
    for target in (0, 1, 2): os.dup2(descriptor, target)
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL),
                            (signal.SIGHUP, signal.SIG_DFL)):
        signal.signal(number, handler)
    import torch

    from s8lib.command import main
    torch.set_num_threads(1)
    arm(Path(folder) / 'log.bin', 'checkpoints', **aim)
    try: main(words)
    except SystemExit as end:
        if isinstance(end.code, str): print(end.code, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else bool(end.code))
    sys.stdout.flush()


def look(run: str) -> dict:
    "Open a run with its images: does its model give its figures?"
    import torch

    from s8lib.core import DataError
    from s8lib.main import open_run
    from s8lib.predictions import predict
    warnings.simplefilter('ignore')
    try: opened = open_run(run, load_images=True, device='cpu')
    except DataError as error: return dict(epochs=0, same=True, words=str(error))
    again = predict(opened.model, opened.test)
    same = bool(torch.allclose(again.logits, opened.predictions.logits, atol=1e-4))
    figures = [again.accuracy, opened.predictions.accuracy]
    if opened.history: figures.append(opened.history[-1]['test_accuracy'])
    return dict(epochs=len(opened.history), same=same and len(set(figures)) == 1, figures=figures)


@contextlib.contextmanager
def pseudo_terminal():
    "A descriptor to type into, the terminal's name, and what it shows, as a list of pieces."
    own, other = os.openpty()
    attributes = termios.tcgetattr(other)
    attributes[3] |= termios.ISIG
    termios.tcsetattr(other, termios.TCSANOW, attributes)
    pieces = []
    def listen():
        with contextlib.suppress(OSError):
            while piece := os.read(own, 4096): pieces.append(piece)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try: yield own, os.ttyname(other), pieces
    finally:
        os.close(other)
        listener.join(5)
        os.close(own)


def _take_aim(random, reference, kind):
    "Where the first signal comes, and the pauses to the next ones."
    pauses = [0.] + [random.choice([0., random.uniform(0, .3)]) for _ in range(random.choice((0, 0, 1, 2)))]
    if kind == 'Ctrl-C': return dict(after=random.uniform(0, reference['seconds'])), pauses
    moment = random.choice(('time', 'save', 'test', 'step'))
    if moment == 'time': return dict(after=random.uniform(0, reference['seconds'])), pauses
    if moment == 'save': return dict(event=random.randint(1, reference['events'])), pauses
    if moment == 'test': return dict(test=random.randint(1, 2)), pauses
    return dict(step=random.randint(1, reference['steps'])), pauses


def _in_terminal(place, trial, server, kind):
    "One trial of the command."
    random = place.random('signals', trial.name)
    reference = undisturbed(place, server, 'batched')
    folder = place.work / trial.name.replace(' ', '-')
    shutil.rmtree(folder, ignore_errors=True)
    aim, pauses = _take_aim(random, reference, kind)
    trial.facts = dict(aim=aim, times=len(pauses))
    words = command_line(options(place.images, folder / 'runs', place.seed, 'batched',
                                 workers=random.choice((0, 0, 1))) | dict(num_mistakes=1))
    with pseudo_terminal() as (keys, name, pieces):
        shots = dict(shots=[(pause, int(getattr(signal, kind)))
                            for pause in pauses]) if kind != 'Ctrl-C' else {}
        victim = server.start('faults.signals:terminal', folder / 'terminal', folder=folder / 'terminal',
                              terminal=name, words=words,
                              aim={} if kind == 'Ctrl-C' else aim | shots)
        if kind == 'Ctrl-C': _type(keys, aim['after'], pauses)
        ending = victim.wait(60)
    shown = b''.join(pieces).decode(errors='replace')
    trial.facts |= dict(status=ending.status, steps=read_log(folder / 'terminal/log.bin')['steps'])
    if ending.hung: return trial.bad('hung', shown[-500:])
    if 'Traceback' in shown: return trial.bad('a traceback', shown[-1500:])
    run = the_run(folder / 'runs')
    whole = ending.status == 0 and run and (run / 'report.html').exists()
    if ending.status not in EXPECTED[kind] and not whole:
        return trial.bad('another exit code', f'{ending.status}: {shown[-500:]}')
    _afterwards(place, trial, server, folder, run)


def _type(keys, after, pauses):
    "Type Ctrl-C."
    time.sleep(after)
    for pause in pauses:
        time.sleep(pause)
        with contextlib.suppress(OSError): os.write(keys, b'\x03')


def _afterwards(place, trial, server, folder, run):
    "What was left must be right, and go on to the end."
    reference = undisturbed_run(place, 'batched')
    if run is None or newest_manifest(run) is None:
        shutil.rmtree(folder)
        return trial.good('nothing was begun')
    seen = server.call('faults.signals:look', folder / 'look', run=str(run))
    if not seen.value: return trial.bad('does not open', seen.words())
    if not seen.value['same']: return trial.bad('other figures', f'{seen.value}')
    ended = server.call('faults.kill:victim', folder / 'end', folder=folder / 'end', resume=str(run))
    if not ended.value: return trial.bad('does not go on', ended.words())
    words = differences(run, reference)
    if words: return trial.bad('another end', '; '.join(words))
    trial.good('kept and gone on to the same end')
    shutil.rmtree(folder)


PREPARE = '''
import json, os, sys, warnings
os.environ.update(OMP_NUM_THREADS='1', XDG_CACHE_HOME={cache!r}, MPLBACKEND='agg')
sys.path[:0] = {paths!r}
import torch
torch.set_num_threads(1)
from s8lib import train
from s8lib.predictions import predict
run = None
'''
TRAIN = 'run = None\nrun = train(**{options!r})'
LOOK = '''
state = None
if run is not None:
    again = predict(run.model, run.test)
    figures = [again.accuracy, run.predictions.accuracy, *[row['test_accuracy'] for row in run.history[-1:]]]
    same = bool(torch.allclose(again.logits, run.predictions.logits, atol=1e-4))
    state = dict(same=same and len(set(figures)) == 1)
print('STATE' + json.dumps(state))
'''


class Kernel:
    "An ipykernel that is started, asked and interrupted."
    def __init__(self, cache: Path):
        from jupyter_client.manager import KernelManager
        self.manager = KernelManager(kernel_name='python3')
        self.manager.kernel_spec.argv[0] = sys.executable
        self.manager.start_kernel(cwd=str(cache.parent), env=os.environ | dict(OMP_NUM_THREADS='1'))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self.ask(PREPARE.format(cache=str(cache), paths=[str(LIBRARY.parent), str(HERE.parent)]))

    def ask(self, code: str, meanwhile=None) -> tuple:
        "What a cell printed, and the name of its error, while something else is done."
        said = []
        if meanwhile: threading.Thread(target=meanwhile, daemon=True).start()
        reply = self.client.execute_interactive(code, timeout=60,
                                                output_hook=lambda message: said.append(message['content']))
        text = ''.join(content.get('text', '') for content in said)
        return text, reply['content'].get('ename')

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def _in_kernel(place, trial, server, kernel):
    "One trial in a notebook: interrupted up to three times in short order."
    random = place.random('signals', trial.name)
    reference = undisturbed(place, server, 'batched')
    folder = place.work / trial.name.replace(' ', '-')
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    after = random.uniform(0, reference['seconds'])
    pauses = [after] + [random.choice([.05, random.uniform(0, .3)])
                        for _ in range(random.choice((0, 0, 1, 2)))]
    def interrupt():
        for pause in pauses:
            time.sleep(pause)
            kernel.manager.interrupt_kernel()

    given = options(place.images, folder / 'runs', place.seed, 'batched')
    shown, error = kernel.ask(TRAIN.format(options=given), interrupt)
    time.sleep(sum(pauses[1:]) + .1)  # an interrupt that comes after the cell's end is answered by the kernel
    state, _ = kernel.ask(LOOK)
    returned = json.loads(state.split('STATE')[-1]) if 'STATE' in state else None
    trial.facts = dict(after=after, times=len(pauses), error=error, returned=returned)
    run = the_run(folder / 'runs')
    if error not in (None, 'KeyboardInterrupt'):
        return trial.bad('without a name', f'{error}: {shown[-500:]}')
    if returned and not returned['same']: return trial.bad('other figures', 'the run that was returned')
    if not returned and run and (newest_manifest(run)
                                 or {}).get('facts', {}).get('epoch') and len(pauses) == 1:
        return trial.bad('no run came back', f'{error}')
    _afterwards(place, trial, server, folder, run)


def plan(short):
    count = 1 if short else 18
    names = [f'{kind} {number:02}' for kind in SIGNALS for number in range(count)]
    return names + [f'kernel {number:02}' for number in range(1 if short else 28)]


def run(place: Place, names: list):
    def one(trial, server): _in_terminal(place, trial, server, trial.name.split()[0])

    yield from side_by_side([name for name in names if not name.startswith('kernel')], one, place.jobs,
                            imports=('faults.warm', 's8lib.actions'))
    in_kernel = [name for name in names if name.startswith('kernel')]
    if not in_kernel: return
    with borrowed_server() as server, contextlib.closing(Kernel(place.common / 'cache')) as kernel:
        yield from one_by_one(in_kernel, lambda trial: _in_kernel(place, trial, server, kernel))


TEST = Test('signals, once to three times, in a terminal and in a Jupyter kernel',
            'the tested model is kept and goes on to the same end',
            plan, run)
