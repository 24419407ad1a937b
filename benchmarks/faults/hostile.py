"""Inputs that are wrong, odd or hostile, one at a time in a forked process: files, names, arrays, options.

Right is a value that is as plain Pillow or NumPy have it, or as it was given; named is an error of the
library (`S8Error`), or a file that was kept out under a warning of the library. Nothing may take longer than
five seconds of a processor or four GiB, start a program, or show a character that a terminal obeys.
"""
import os
import resource
import shutil
import time
import warnings
from pathlib import Path

from faults.bench import MAKING, Place, Test, is_named, side_by_side
from faults.flips import make_runs
from faults.questions import FAMILIES, Wrong, check_text
from faults.watch import Watch

LONGEST = 5.  # seconds of a processor
LONGEST_OF = dict(class_name=60.)  # a training and a report
MOST_MEMORY = 2**32  # bytes beyond those before


def ask(family: str, case: str, folder: str) -> dict:
    "Ask one question, in a process of its own: what came of it, how long it took, and how much memory."
    folder = Path(folder) / 'case'
    folder.mkdir()
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30,) * 2)
    watch = Watch([folder])
    question = FAMILIES[family][0](folder, case)
    next(question)
    start = time.process_time()  # other jobs beside make nobody too slow
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings(record=True) as caught, watch:
        warnings.simplefilter('always')
        outcome, words = _answer(question)
    seconds = time.process_time() - start
    memory = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    if outcome == 'accepted': outcome, words = _judged(question)
    limit = LONGEST_OF.get(family, LONGEST)
    return dict(_with_limits(outcome, words, seconds / limit, memory, watch.events, caught), seconds=seconds,
                memory=memory)


def _answer(question):
    "The outcome of the question itself."
    try: next(question)
    except Exception as error: return _of_error(error)
    return 'accepted', ''


def _judged(question):
    "The outcome of an answer."
    try: next(question)
    except StopIteration as end: return end.value, ''
    except Wrong as error: return 'wrong', str(error)
    except Exception as error:
        return 'wrong', f'plain Pillow does not take it: {type(error).__name__}: {error}'
    raise RuntimeError('a question ends with a judgement')


def _of_error(error):
    words = f'{type(error).__name__}: {error}'
    if isinstance(error, Wrong): return 'wrong', str(error)
    if not is_named(error): return 'without a name', words
    try: check_text(str(error))
    except Wrong as wrong: return 'unprintable', str(wrong)
    return 'named', words


def _with_limits(outcome, words, share_of_time, memory, events, caught):
    "The outcome, unless a limit was broken."
    programs = [words for kind, words in events if kind in ('program', 'pickle', 'socket')]
    others = [str(each.message) for each in caught if not each.category.__module__.startswith('s8lib')]
    if programs: return dict(outcome='executed', words='; '.join(programs))
    if share_of_time > 1:
        return dict(outcome='too slow', words=f'{share_of_time:.1f} times the limit ({outcome} {words})')
    if memory > MOST_MEMORY:
        return dict(outcome='too much memory', words=f'{memory / 2**30:.1f} GiB ({outcome} {words})')
    if others: return dict(outcome='a warning without a name', words=others[0])
    try:
        for each in caught: check_text(str(each.message))
    except Wrong as error: outcome, words = 'unprintable', str(error)
    return dict(outcome=outcome, words=words)


GOOD = ('right', 'named', 'kept out', 'right or named')


def plan(short):
    "All cases; in short every twentieth."
    names = [f'{family}: {case}' for family, (_, cases) in FAMILIES.items() for case in cases()]
    return names[::20] if short else names


def run(place: Place, names: list):
    numbers = {name: number for number, name in enumerate(plan(False))}
    def one(trial, server):
        family, case = trial.name.split(': ', 1)
        with MAKING:
            if family == 'forged' and not (place.work / 'run').exists():
                shutil.copytree(make_runs(place, server)['one'], place.work / 'run')
        folder = place.work / f'{numbers[trial.name]:04}'
        shutil.rmtree(folder, ignore_errors=True)
        ending = server.call('faults.hostile:ask', folder, limit=90, family=family, case=case, folder=folder)
        shutil.rmtree(folder)
        if not ending.value: return trial.bad('hung' if ending.hung else 'without a name', ending.words())
        trial.facts = {name: round(ending.value[name], 2) for name in ('seconds', 'memory')}
        if ending.value['outcome'] in GOOD: trial.good(ending.value['outcome'])
        else: trial.bad(ending.value['outcome'], ending.value['words'])

    yield from side_by_side(names, one, place.jobs)


TEST = Test('wrong, odd and hostile files, names, arrays and options', 'right or named, within five seconds',
            plan, run)
