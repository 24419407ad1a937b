"""Measure how long the command takes to say its first word, in fresh processes.

    python benchmarks/startup.py

Each case is a process of its own: help, version, a wrong option, the first line of a training, and for
comparison `import s8lib`, the verbs and PyTorch. Before each cold start the files that the process reads
are dropped from the page cache, as far as no other process has them mapped; Python itself stays. Seconds
are from the start of the process to the first byte that it writes, seconds of the processor likewise.
Medians of 7 repetitions, cases in turn.
"""
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fastcore.script import call_parse
from shared import RESULTS, describe, table, words, write_result

COMMAND = 'from s8lib.command import main; main()'
IMPORTS = 'import {}; print()'
CASES = {
    's8lib --help': (COMMAND, '--help'),
    's8lib --version': (COMMAND, '--version'),
    's8lib train --help': (COMMAND, 'train', '--help'),
    's8lib train --epoch 3': (COMMAND, 'train', '--epoch', '3'),
    's8lib train --device gpu': (COMMAND, 'train', '--device', 'gpu'),
    'first line of s8lib train': (COMMAND, 'train', 'shapes', '--epochs', '1'),
    'import s8lib': (IMPORTS.format('s8lib'),),
    'import numpy': (IMPORTS.format('numpy'),),
    'import torch': (IMPORTS.format('torch'),),
    'from s8lib import train': ('from s8lib import train; print()',)}
# run before the code of a case: at its end the process lists the files that it has read
LISTING = """
import atexit, sys
def list_files():
    files = [getattr(module, name, None)
             for module in [*sys.modules.values()] for name in ('__file__', '__cached__')]
    mapped = [line.split()[-1] for line in open('/proc/self/maps') if '/' in line and '.so' in line]
    names = {file for file in [*files, *mapped] if file}
    with open(NAME, 'w') as listing: print(*names, sep='\\n', file=listing)
atexit.register(list_files)
"""


def files_of(case: tuple) -> list[Path]:  # that the process reads after Python itself
    "The files of modules and libraries that a case loads."
    code, *words = case
    with tempfile.TemporaryDirectory() as folder:
        name = f'{folder}/files'
        listing = LISTING.replace('NAME', repr(name))
        subprocess.run([sys.executable, '-c', listing + code, *words], cwd=folder, capture_output=True)
        paths = [Path(line) for line in Path(name).read_text().splitlines()]
    return [path for path in paths if path.is_file()]


def drop(paths: list[Path]):
    "Ask the system to forget the contents of files."
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def first_word(case: tuple) -> tuple[float, float]:
    "Seconds, and seconds of the processor, until a case writes its first byte."
    code, *words = case
    ours, theirs = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, '-c', code, *words], cwd=folder, stdout=theirs, stderr=theirs)
        os.read(ours, 1)
        seconds = time.perf_counter() - start
        os.kill(process.pid, signal.SIGKILL)  # `process.kill` would take the usage of one that has ended
        usage = os.wait4(process.pid, 0)[2]
        process.returncode = 0
    os.close(ours)
    os.close(theirs)
    return seconds, usage.ru_utime + usage.ru_stime


def startup(
    repeats: int = 7,  # of each case, cold and warm
) -> list[dict]:  # a row for each case
    "Seconds to the first word of each case, cold and warm."
    files = {name: files_of(case) for name, case in CASES.items() if 'first line' not in name}
    files['first line of s8lib train'] = files['s8lib train --help']
    times = {name: dict(cold=[], warm=[], processor=[]) for name in CASES}
    for _ in range(repeats):
        for name, case in CASES.items():
            drop(files[name])
            times[name]['cold'].append(first_word(case)[0])
            seconds, of_processor = first_word(case)
            times[name]['warm'].append(seconds)
            times[name]['processor'].append(of_processor)
    return [dict(case=name, files=len(files[name])) |
            {f'{kind}, s': statistics.median(values) for kind, values in rows.items()} |
            {'most, s': max(rows['cold'])} for name, rows in times.items()]


@call_parse
def main(
    repeats: int = 7,  # of each case, cold and warm
    out: str = RESULTS,  # folder of the result
):
    "Measure the start of the command and write `startup.json` and `startup.md`."
    rows = startup(repeats)
    setting = dict(repeats=repeats, cores=len(os.sched_getaffinity(0)), load=round(os.getloadavg()[0], 2),
                   machine=describe('cpu'))
    text = __doc__.partition('\n\n')[2].partition('\n\n')[2].strip()
    page = ['# The first word of the command', text, words(setting), table(rows)]
    print(write_result('startup', dict(setting=setting, rows=rows), page, out))
