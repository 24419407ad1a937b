"""What the tests share: trials and their outcomes, victims that are forked and killed, a set of images.

A test is a `Test`: a plan of trials by name, and a generator that makes them. A trial may stand for many
inputs; it counts what became of each, and describes each that was lost, silent, executed or without a name.
"""
import atexit
import contextlib
import hashlib
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
LIBRARY = Path(find_spec('s8lib').origin).parent
MOST_DESCRIBED = 20  # failures of a trial that are described; all are counted


@dataclass
class Trial:
    "What came of one trial."
    name: str
    outcomes: Counter = field(default_factory=Counter)  # how often, by outcome
    failures: list = field(default_factory=list)  # descriptions
    num_failed: int = 0  # inputs that were lost, silent, executed or without a name
    facts: dict = field(default_factory=dict)  # measured beside it
    seconds: float = 0.

    def good(self, outcome: str):
        "An input came out well."
        self.outcomes[outcome] += 1

    def bad(self, outcome: str, description: str):
        "An input came out badly."
        self.outcomes[outcome] += 1
        self.num_failed += 1
        if len(self.failures) < MOST_DESCRIBED: self.failures.append(f'{outcome}: {description}'[:1000])

    def add(self, values: dict):
        "Take over what a child has counted."
        self.outcomes.update(values['outcomes'])
        self.failures = (self.failures + values['failures'])[:MOST_DESCRIBED]
        self.num_failed += values['num_failed']

    def row(self) -> dict:
        "As JSON says it."
        return asdict(self) | dict(outcomes=dict(self.outcomes), seconds=round(self.seconds, 2))


@dataclass(frozen=True)
class Place:
    "Where a test works, and what it may draw from."
    work: Path  # scratch folder of this test
    common: Path  # what the tests share: images, trainings that nobody disturbed
    seed: int
    short: bool  # a part of everything, in seconds
    jobs: int  # trials at a time
    data_dir: Path | None = None  # what somebody has brought: `--data-dir`

    @property
    def images(self) -> Path:
        "A small folder of drawn shapes, made once."
        with MAKING: return make_images(self.common / 'images')

    def random(self, *key) -> random.Random:
        "A generator that is a function of seed and key."
        return random.Random(f'{self.seed} {key}')


@dataclass(frozen=True)
class Test:
    "One test of the bench."
    title: str  # what is done, in a line
    goal: str  # what must come of it
    plan: Callable  # short -> names of its trials
    run: Callable  # (place, names) -> iterator of `Trial`
    judged: bool = True  # whether a failure of it is one of the library


def library_code() -> str:
    "A short digest of the library's source: trials of other code do not count."
    digest = hashlib.sha256()
    for path in sorted(LIBRARY.rglob('*.py')): digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def timed(trial: Trial, make: Callable) -> Trial:
    "Make a trial; what goes wrong in the bench itself is a failure of the trial."
    start = time.perf_counter()
    try: make(trial)
    except Exception: trial.bad('the bench failed', traceback.format_exc(limit=-4))
    trial.seconds = time.perf_counter() - start
    return trial


def one_by_one(names: list, make: Callable) -> Iterator[Trial]:
    "Trials in turn, by `make(trial)`."
    for name in names: yield timed(Trial(name), make)


_SERVERS = {}  # lists of servers that wait for work, by their options
MAKING = threading.RLock()  # held by who makes what several trials share


@contextlib.contextmanager
def borrowed_server(**options):
    "A server that nobody else uses meanwhile; it is kept for the next one until the bench ends."
    waiting = _SERVERS.setdefault(repr(options), [])
    server = waiting.pop() if waiting else Server(**options)
    try: yield server
    finally:
        if server.process.poll() is None: waiting.append(server)


@atexit.register
def _end_servers():
    for waiting in _SERVERS.values():
        for server in waiting: server.close()


def side_by_side(
    names: list,  # of the trials
    make: Callable,  # (trial, server) -> nothing
    jobs: int,  # trials at a time, each with a server of its own
    **options,  # of `Server`
) -> Iterator[Trial]:
    "Trials whose victims are forked, several at a time, as they are done."
    def one(name):
        with borrowed_server(**options) as server:
            return timed(Trial(name), lambda trial: make(trial, server))

    with ThreadPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(one, name) for name in names]): yield done.result()


@dataclass(frozen=True)
class Ending:
    "How a victim ended."
    status: int  # as `waitstatus_to_exitcode`: negative for a signal
    value: dict | None  # what its function returned
    error: dict | None  # 'kind', 'named' (an error of the library), 'message', 'trace'
    log: str  # what it wrote to standard output and standard error
    hung: bool  # it was killed by the bench, after its time

    def words(self) -> str:
        "The error or the end in a line."
        if self.hung: return 'hung: ' + self.log[-300:]
        if self.error: return f"{self.error['kind']}: {self.error['message']} {self.error['trace'][-600:]}"
        return f'status {self.status}: {self.log[-600:]}'


class Server:
    "A process that has imported the library once and forks victims, one at a time."
    def __init__(self,
        python: str = sys.executable,
        imports: tuple = ('faults.warm',),  # modules that are imported before the first fork
        **environment,
    ):
        command = [python, '-c', 'from faults.bench import serve; serve()', *imports]
        path = os.pathsep.join([str(HERE.parent), str(LIBRARY.parent)])
        variables = dict(OMP_NUM_THREADS='1', MPLBACKEND='agg', PYTHONPATH=path) | environment
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=os.environ | variables, cwd=HERE.parent)
        self.answer()  # everything is imported

    def close(self):
        "Let it end."
        with contextlib.suppress(BrokenPipeError): self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def start(self,
        call: str,  # 'module:function'
        folder: Path,  # where its result and its log go; made
        /,
        **arguments,  # of the function, as JSON says them
    ) -> 'Victim':
        "Fork a victim that calls the function."
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'result.json').unlink(missing_ok=True)
        request = dict(call=call, folder=str(folder), arguments=arguments)
        print(json.dumps(request, default=str), file=self.process.stdin, flush=True)
        return Victim(self, int(self.answer()), folder)

    def answer(self) -> str:
        "The next line of the server."
        line = self.process.stdout.readline()
        if not line: raise RuntimeError('the server has ended')
        return line

    def call(self, call: str, folder: Path, /, limit: float = 120, **arguments) -> Ending:
        "Fork a victim, and wait for its end."
        return self.start(call, folder, **arguments).wait(limit)


class Victim:
    "A forked process, leader of a session of its own."
    def __init__(self, server: Server, pid: int, folder: Path):
        self.server = server
        self.pid = pid
        self.folder = folder
        self.hung = False

    def kill(self, number: int = signal.SIGKILL):
        "Send it a signal, if it is still there."
        with contextlib.suppress(ProcessLookupError): os.kill(self.pid, number)

    def _give_up(self):
        self.hung = True
        with contextlib.suppress(ProcessLookupError): os.killpg(self.pid, signal.SIGKILL)

    def wait(self, seconds: float = 120) -> Ending:
        "Until it ends, by itself or after its time; what it left running is killed."
        timer = threading.Timer(seconds, self._give_up)
        timer.start()
        status = int(self.server.answer())
        timer.cancel()
        with contextlib.suppress(ProcessLookupError): os.killpg(self.pid, signal.SIGKILL)
        result = read_json(self.folder / 'result.json') or {}
        log = (self.folder / 'log.txt').read_text(encoding='utf-8', errors='replace')
        return Ending(status, result.get('value'), result.get('error'), log, self.hung)


def read_json(path: Path) -> dict | None:
    "A JSON file, or None where there is none."
    try: return json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError: return None


def is_named(error: BaseException) -> bool:
    "Whether it is one of the library's own errors."
    from s8lib.core import S8Error
    return isinstance(error, S8Error)


def _error_row(error):
    trace = ''.join(traceback.format_exception(error, limit=-3))
    return dict(kind=type(error).__name__, named=is_named(error), message=str(error), trace=trace)


def _live(request, folder):
    "The life of a victim."
    os.setsid()
    log = os.open(folder / 'log.txt', os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)): os.dup2(source, target)
    module, _, function = request['call'].partition(':')
    try:
        value = getattr(importlib.import_module(module), function)(**request['arguments'])
        result = dict(value=value)
    except BaseException as error: result = dict(error=_error_row(error))
    text = json.dumps(result, default=str)
    (folder / 'result.json.new').write_text(text, encoding='utf-8')
    (folder / 'result.json.new').replace(folder / 'result.json')
    sys.stdout.flush()
    sys.stderr.flush()


def serve():
    "The life of a server: a request a line, answered by the victim's process id and by its status."
    for module in sys.argv[1:]: importlib.import_module(module)
    print('ready', flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if not pid:
            try: _live(request, Path(request['folder']))
            finally: os._exit(0)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def make_images(folder: Path, per_class: int = 16) -> Path:
    "A small folder of drawn shapes as PNG files: ten classes, a quarter as many test images."
    from PIL import Image

    from s8lib.datasets import shapes
    for split, count in (('train', per_class), ('test', max(1, per_class // 4))):
        drawn = shapes(split, 10 * count)
        for index, (image, label) in enumerate(zip(drawn.images, drawn.labels)):
            path = folder / split / drawn.classes[label] / f'{index:04}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists(): Image.fromarray(image).save(path)
    return folder
