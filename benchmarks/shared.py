"""What the benchmarks share: the machine, times, Markdown tables, result files.

A benchmark is one command: the parameters of its `main`, under `@call_parse`, are the options.
"""
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from s8lib.compute import describe_machine

RESULTS = Path(__file__).parent / 'results'


def describe(
    device: str | torch.device,  # where everything runs
    *packages: str,  # distributions whose versions matter beside those of the library
) -> dict:  # for `setting['machine']` of a result
    "Hardware and versions to state beside a figure."
    def version_of(name):
        try: return version(name)
        except PackageNotFoundError: return 'not installed'
    return describe_machine(torch.device(device)) | {name: version_of(name) for name in ('s8lib', *packages)}


def words(
    setting: dict,  # values by name; a dict among them is told in its place
) -> str:  # 'images 4, width 8, device cpu, …'
    "A setting as a line of the page."
    return ', '.join(words(value) if isinstance(value, dict) else f'{name} {value}'
                     for name, value in setting.items())


def wait_for(
    device: str | torch.device,  # of what was started
):
    "Wait until a GPU has done what it was given."
    if torch.device(device).type == 'cuda': torch.cuda.synchronize()


def seconds_of(
    run: Callable,  # without arguments
    device: str | torch.device = 'cpu',  # where it runs
) -> float:
    "Seconds of one call, until its device is idle."
    wait_for(device)
    start = time.perf_counter()
    run()
    wait_for(device)
    return time.perf_counter() - start


def median_seconds(
    runs: dict[str, Callable],  # name to a call without arguments
    repeats: int,  # of all of them
    device: str | torch.device = 'cpu',  # where they run
) -> dict[str, float]:  # by name
    "Median seconds of each run; the runs take turns within each repetition."
    seconds = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items(): seconds[name].append(seconds_of(run, device))
    return {name: statistics.median(values) for name, values in seconds.items()}


def _cell(value):
    "Text as it is; numbers get three digits, from a thousand on without decimals."
    if value is None or isinstance(value, str): return value or ''
    return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.3g}'


def table(
    rows: list[dict],  # value by column; a column may be missing in a row, lists are left to the JSON file
) -> str:  # Markdown
    "A table with a column for each key, in the order in which the keys appear."
    cells = [(name, value) for row in rows for name, value in row.items()]
    columns = list(dict.fromkeys(name for name, value in cells if not isinstance(value, list)))
    lines = [columns, ['---'] * len(columns), *([_cell(row.get(name)) for name in columns] for row in rows)]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def write_result(
    name: str,  # of the files, without ending
    result: dict,  # with 'setting', which holds the 'machine' of `describe`
    page: str | list[str],  # Markdown, or its paragraphs
    out: str | Path = RESULTS,  # folder, made if it is not there
) -> str:  # the page
    "Write `name.json` and `name.md`; raises `KeyError` for a result that does not say where it was measured."
    result['setting']['machine']['torch']
    page = page if isinstance(page, str) else '\n\n'.join(page)
    file = Path(out) / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.with_name(f'{name}.json').write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
    file.with_name(f'{name}.md').write_text(page + '\n', encoding='utf-8')
    return page


def read_result(
    name: str,  # of the files, without ending
    out: str | Path = RESULTS,  # folder
) -> dict | None:  # None if there is none
    "A result that was written before, for a benchmark that goes on where it stopped."
    file = Path(out) / f'{name}.json'
    return json.loads(file.read_text(encoding='utf-8')) if file.is_file() else None


def begun_result(
    name: str,  # of the files, without ending
    setting: dict,  # of the runs that are to come, with the 'machine' of `describe`
    out: str | Path = RESULTS,  # folder
) -> dict:  # 'setting' of this machine, and the 'runs' that were made before
    "A result to go on with. Ends the program where the file holds runs of another setting."
    result = read_result(name, out) or dict(setting=setting, runs=[])
    if result['setting'] | dict(machine=None) != setting | dict(machine=None):
        raise SystemExit(f'{name} holds runs of another setting; take another --name')
    return result | dict(setting=setting)


def done_by(
    processes: int,  # at the same time; with 1 all is done in this one
    run: Callable,  # of a module, with the arguments of a job
    jobs: list[tuple],  # arguments of each call
) -> Iterator:  # of results, as they come
    "Do jobs of which each takes its time, one after the other or several at a time."
    if processes == 1: return (run(*job) for job in jobs)
    return _at_the_same_time(processes, run, jobs)


def _at_the_same_time(processes, run, jobs):
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context('spawn'))
    try: yield from (done.result() for done in as_completed([pool.submit(run, *job) for job in jobs]))
    finally: pool.shutdown(cancel_futures=True)


def interval(
    measure: Callable,  # of two arrays of equal length
    first: np.ndarray,  # (N,)
    second: np.ndarray,  # (N,)
    repeats: int = 200,  # samples of the N places
) -> str:  # such as '0.920 to 0.940'
    "A 95% interval of a measure by bootstrap over the images."
    generator = np.random.default_rng(0)
    samples = (generator.integers(0, len(first), len(first)) for _ in range(repeats))
    low, high = np.quantile([measure(first[places], second[places]) for places in samples], [.025, .975])
    return f'{low:.3f} to {high:.3f}'
