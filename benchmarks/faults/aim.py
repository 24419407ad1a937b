"""Killing at a chosen place: in a victim, before it begins.

`arm` counts the optimizer's steps into a file, and the file events of a folder (opened, renamed, removed,
linked, made); at a chosen event, or a little after it, the victim gets SIGKILL: at once from itself, later
from a sniper, a process of its own that waits for the shot. `read_log` tells what was reached.
"""
import os
import signal
import struct
import sys
import time
from pathlib import Path

EVENTS = ('open', 'os.rename', 'os.remove', 'os.mkdir', 'os.link', 'os.symlink', 'os.truncate', 'os.rmdir')
RECORD = struct.Struct('qqq')  # steps, events, steps when the newest save was begun


def _concerns(event, arguments, watched):
    "Whether an audit event is about a path that holds the text."
    if event not in EVENTS: return False
    paths = [path for path in arguments[:2] if isinstance(path, (str, bytes, os.PathLike))]
    return any(watched in os.fsdecode(path) for path in paths)


def _sniper(shots, after=None):
    "Fork a process that shoots this one, after so many seconds or when a byte is written to the descriptor."
    target = os.getpid()
    ear, trigger = os.pipe()
    if os.fork():
        os.close(ear)
        return trigger
    os.close(trigger)
    if after is not None: time.sleep(after)
    elif not os.read(ear, 1): os._exit(0)
    for pause, number in shots:
        time.sleep(pause)
        try: os.kill(target, number)
        except ProcessLookupError: break
    os._exit(0)


class Log:
    "Steps and events, in a file that survives the victim."
    def __init__(self, path: Path):
        self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self.steps = 0
        self.events = 0
        self.tests = 0
        self.begun = 0
        self.write()

    def write(self): os.pwrite(self.file, RECORD.pack(self.steps, self.events, self.begun), 0)

    def step(self, *call):
        self.steps += 1
        self.write()

    def event(self):
        self.events += 1
        self.write()

    def save(self):
        self.begun = self.steps
        self.write()


def read_log(path: Path) -> dict:
    "What a victim reached: its steps, its file events, and its steps when the newest save was begun."
    data = path.read_bytes() if path.exists() else b''
    values = RECORD.unpack(data) if len(data) == RECORD.size else (0, 0, 0)
    return dict(zip(('steps', 'events', 'begun'), values))


def arm(
    log: Path,  # where steps and events are counted
    watched: str,  # events on paths that hold this text are counted
    event: int | None = None,  # at which event to shoot
    step: int | None = None,  # at which step to shoot
    test: int | None = None,  # at which batch of a test to shoot
    after: float | None = None,  # seconds from now to the shot
    delay: float = 0.,  # seconds from the event, step or batch to the shot
    shots: tuple = ((0, signal.SIGKILL),),  # pauses and signals
) -> Log:
    "Take aim at this process; without event, step, test and after it only counts."
    from torch.nn.modules.module import register_module_forward_pre_hook
    from torch.optim.optimizer import register_optimizer_step_post_hook
    record = Log(log)
    owner = os.getpid()
    is_instant = not delay and list(map(tuple, shots)) == [(0, signal.SIGKILL)] and after is None
    trigger = None if is_instant else _sniper([(shots[0][0] + delay, shots[0][1]), *shots[1:]], after)
    def shoot():
        if is_instant: os.kill(owner, signal.SIGKILL)
        os.write(trigger, b'!')

    def on_event(name, arguments):
        if not _concerns(name, arguments, watched) or os.getpid() != owner: return
        record.event()
        if record.events == event: shoot()

    def on_step(*call):
        record.step()
        if record.steps == step: shoot()

    def on_forward(module, arguments):
        if module.training or type(module).__name__ != 'ResNet': return
        record.tests += 1
        if record.tests == test: shoot()

    register_optimizer_step_post_hook(on_step)
    register_module_forward_pre_hook(on_forward)
    sys.addaudithook(on_event)
    return record
