"""Nothing lost, nothing executed: trainings are killed, files damaged, disks filled, hostile inputs read.

    pip install -e '.[benchmark]'
    python benchmarks/faults.py                     # everything, about an hour on two cores
    python benchmarks/faults.py kill disk           # some of the tests
    python benchmarks/faults.py --short             # a part of everything, two minutes

Each trial's outcome is a line of `faults-trials.jsonl` beside the results as soon as it is known; a run that
was stopped goes on with the trials that are missing. Trials that were made with another state of the
library's code do not count, and are made again. The exit code is 1 if anything was lost, silent, executed or
without a name.
"""
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from fastcore.script import call_parse
from faults.bench import Place, Test, Trial, library_code
from shared import RESULTS, describe, table, words, write_result

TESTS = ('hostile', 'kill', 'elastic', 'flips', 'audit', 'disk', 'signals', 'pillow', 'lightning', 'cost')
NOTE = ('*Inputs* is what was tried: kills, damaged files, hostile values. *Well* are those whose outcome '
        'is admitted; each outcome is counted on the right. What a test does is said in its module in '
        '`benchmarks/faults`.')
COUNTED = ('kills', 'in_save', 'more_than_interval')  # facts that are added up
LARGEST = ('most_lost', 'lost')  # facts of which the largest is told, in steps
MOST_TOLD = 100  # failures on the page


def read_trials(path: Path, key: dict) -> list:
    "The lines of trials that were made under this key; a last line that was cut off is left out."
    lines = path.read_text(encoding='utf-8').splitlines() if path.exists() else []
    rows = []
    for line in lines:
        try: rows.append(json.loads(line))
        except ValueError: continue
    return [row for row in rows if row.get('key') == key]


def make_trials(name: str, test: Test, place: Place, key: dict, path: Path) -> list:
    "The trials of a test: those that are there already, and the missing ones, each written as it is made."
    names = test.plan(place.short)
    rows = [row for row in read_trials(path, key) if row['test'] == name and row['name'] in names]
    missing = sorted(set(names) - {row['name'] for row in rows})
    if not missing: return rows
    place.work.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with path.open('a', encoding='utf-8') as file:
        file.write('\n')  # after a line that was cut off
        for trial in test.run(place, missing):
            rows.append(dict(test=name, key=key) | trial.row())
            file.write(json.dumps(rows[-1], default=str) + '\n')
            file.flush()
            _tell(name, len(rows), len(names), trial, time.perf_counter() - start)
    return rows


def _tell(name, count, total, trial: Trial, seconds):
    "What the terminal shows of a trial."
    for failure in trial.failures:
        words = ' '.join(failure.split()).encode('ascii', 'backslashreplace').decode()
        print(f'{name} {trial.name}: {words}', flush=True)
    if count == total or count % max(1, total // 10) == 0:
        print(f'{name}: {count} of {total} trials, {seconds:.0f} s', flush=True)


def summary(name: str, test: Test, rows: list, total: int) -> dict:
    "A test's row of the table."
    outcomes = sum((Counter(row['outcomes']) for row in rows), Counter())
    inputs = sum(outcomes.values())
    failed = sum(row['num_failed'] for row in rows)
    told = ', '.join(f'{outcome} {count:,}' for outcome, count in outcomes.most_common())
    row = {'test': name, 'what': test.title, 'goal': test.goal, 'trials': f'{len(rows)} of {total}',
           'inputs': inputs,
           'well': inputs - failed, 'outcomes': told, 'measured': measured(rows),
           'seconds': sum(row['seconds'] for row in rows)}
    return row


def measured(rows: list) -> str:
    "What the facts of the trials come to: sums of what is counted, the largest number of steps lost."
    values = {}
    for row in rows:
        for name in row['facts'].keys() & {*COUNTED, *LARGEST}:
            values.setdefault(name, []).append(row['facts'][name])
    return ', '.join(f'{name} {(max if name in LARGEST else sum)(values[name]):,}'
                     for name in (*COUNTED, *LARGEST) if name in values)


def page(setting: dict, rows: list, failures: list) -> list:
    "All of it in Markdown."
    verdict = 'Nothing was lost, silent, executed or without a name.'
    lines = [f"- {' '.join(failure.split())}" for failure in failures[:MOST_TOLD]]
    if failures: verdict = f'{len(failures)} failures:\n\n' + '\n'.join(lines)
    return ['# Faults', f'{words(setting)}.', NOTE, table(rows), verdict]


def describe_setting(short: bool, jobs: int, key: dict) -> dict:
    "What to state beside the figures."
    command = ' '.join(['python', 'benchmarks/faults.py', *sys.argv[1:]])
    machine = describe('cpu', 'pillow', 'safetensors', 'tensorboard', 'pytorch-lightning')
    load = round(os.getloadavg()[0], 1)
    return {'command': command, **key, 'short': short, 'jobs': jobs, 'load at the start': load,
            'machine': machine}


def run_tests(names: tuple, place_of: Callable, key: dict, path: Path):
    "Make the trials that are missing, and tell how each test came out."
    for name in names:
        test = importlib.import_module(f'faults.{name}').TEST
        place = place_of(name)
        trials = make_trials(name, test, place, key, path)
        row = summary(name, test, trials, len(test.plan(place.short)))
        print(table([{column: row[column] for column in ('test', 'trials', 'inputs', 'well', 'outcomes')}]))
        if not any(trial['num_failed'] for trial in trials): shutil.rmtree(place.work, ignore_errors=True)


def all_rows(short: bool, key: dict, path: Path) -> tuple:
    "The table of all tests of which there are trials, in this run or before it, and the failures in words."
    rows = []
    failures = []
    for name in TESTS:
        trials = [row for row in read_trials(path, key) if row['test'] == name]
        if not trials: continue
        test = importlib.import_module(f'faults.{name}').TEST
        rows.append(summary(name, test, trials, len(test.plan(short))))
        if test.judged:
            failures += [f"{name} {row['name']}: {each}" for row in trials for each in row['failures']]
    return rows, failures


@call_parse
def main(
    *names: str,  # tests; by default all
    short: bool = False,  # a part of everything
    fresh: bool = False,  # begin anew
    seed: int = 0,  # of what is drawn
    jobs: int = 2,  # trials at a time
    data_dir: Path = None,  # Pillow's own test images (`Tests/images` of its sdist), else fetched by pip
    work: Path = Path(tempfile.gettempdir()) / 's8lib-faults',  # scratch folder
    out: Path = RESULTS,  # folder of the results
):
    "Kill trainings, damage files, fill disks, read hostile inputs; count what is lost, silent or executed."
    unknown = sorted(set(names) - set(TESTS))
    if unknown: sys.exit(f'there is no test {", ".join(unknown)}; there are: {", ".join(TESTS)}')
    out.mkdir(parents=True, exist_ok=True)
    result = 'faults-short' if short else 'faults'
    path = out / f'{result}-trials.jsonl'
    if fresh: path.unlink(missing_ok=True)
    key = dict(code=library_code(), seed=seed, torch=version('torch'))
    folder = work.absolute() / '-'.join(map(str, key.values()))
    setting = describe_setting(short, jobs, key)
    def place_of(name): return Place(folder / name, folder / 'common', seed, short, jobs, data_dir)

    run_tests(names or TESTS, place_of, key, path)
    rows, failures = all_rows(short, key, path)
    values = dict(setting=setting, rows=rows, failures=failures)
    print(write_result(result, values, page(setting, rows, failures), out))
    sys.exit(bool(failures))
