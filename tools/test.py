"Run every notebook in a process of its own, and the quick checks; the last line counts them."
import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
import traceback
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from check import CHECKS
from project import ROOT, code, code_cells, notebooks

MEMORY_A_NOTEBOOK = 3 * 2**30  # bytes, with torch loaded and some to spare
NO_MEMORY = re.compile(r"MemoryError|[Cc]an(?:'t|not) allocate memory|killed by signal: Killed")
TRAINING = re.compile(r'(?<![\w.])(?:fit|train|Trainer|make_trainer)\(|\.backward\(')

def num_workers() -> int:
    "As many notebooks at a time as there are cores, and memory for."
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return max(1, min(os.cpu_count(), memory // MEMORY_A_NOTEBOOK))

def trains(notebook: Path) -> bool:
    "Whether the code of a notebook trains a network."
    return bool(TRAINING.search(code(code_cells(notebook))))

def run_notebook(notebook: Path, *options: str) -> tuple[str, str]:
    "The outcome of a notebook, and what its failure said. A `.notest` file marks a folder of long runs."
    if not notebook.is_file(): return 'failed', f'{notebook} is not there'
    if (notebook.parent/'.notest').exists(): return 'skipped', ''
    command = [Path(sysconfig.get_path('scripts'))/'nbdev-test', notebook, '--n-workers', '0', *options]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | dict(OMP_NUM_THREADS='1'), text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode == 0: return 'passed', ''
    starved = done.returncode == -signal.SIGKILL or NO_MEMORY.search(done.stdout)
    return 'no memory' if starved else 'failed', done.stdout

def run_check(check) -> tuple[str, str]:
    "The outcome of a quick check, and the problems it found."
    problems = check()
    return ('failed', '\n'.join(problems)) if problems else ('passed', '')

def report(name: str, run, subject) -> str:
    "Run one test, print its line, and return its outcome."
    start = time.perf_counter()
    try: outcome, detail = run(subject)
    except Exception: outcome, detail = 'failed', traceback.format_exc()
    seconds = time.perf_counter() - start
    print(f'{outcome:10}{seconds:6.1f} s  {name}', *[detail] * bool(detail), sep='\n', flush=True)
    return outcome

def chosen_tests() -> list[tuple]:
    "Name, function and subject of each test that the command line asks for."
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('notebooks', nargs='*', type=Path, help='only these, without the quick checks')
    parser.add_argument('--training', action='store_true', help='only the notebooks that train a network')
    asked = parser.parse_args()
    paths = [path.resolve() for path in asked.notebooks] or notebooks()
    if asked.training: paths = [path for path in paths if trains(path)]
    checks = [] if asked.training or asked.notebooks else CHECKS
    return ([(str(path.relative_to(ROOT)), run_notebook, path) for path in paths]
            + [(check.__name__.replace('_', ' '), run_check, check) for check in checks])

def main():
    tests = chosen_tests()
    with ThreadPoolExecutor(num_workers()) as pool:
        outcomes = list(pool.map(lambda test: report(*test), tests))
    # a notebook that found no memory beside others runs again, alone
    outcomes = [report(*test) if outcome == 'no memory' else outcome
                for test, outcome in zip(tests, outcomes)]
    passed, skipped = (outcomes.count(outcome) for outcome in ('passed', 'skipped'))
    failed = len(outcomes) - passed - skipped
    print(f'{passed} passed, {failed} failed' + f', {skipped} skipped' * bool(skipped))
    sys.exit(bool(failed) or not outcomes)

if __name__ == '__main__': main()
