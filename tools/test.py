"Run every notebook in a process of its own, and the quick checks; the last line counts them."
import os
import subprocess
import sys
import sysconfig
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from check import CHECKS
from project import ROOT, notebooks

MEMORY_A_NOTEBOOK = 3 * 2**30 # bytes, with torch loaded and some to spare

def num_workers() -> int:
    "As many notebooks at a time as there are cores, and memory for."
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return max(1, min(os.cpu_count(), memory // MEMORY_A_NOTEBOOK))

def run_notebook(notebook: Path) -> tuple[str, str]:
    "The outcome of a notebook, and what its failure said; a `.notest` file marks a folder of long runs, whose outputs are kept."
    if (notebook.parent/'.notest').exists(): return 'skipped', ''
    command = [Path(sysconfig.get_path('scripts'))/'nbdev-test', notebook, '--n-workers', '0']
    done = subprocess.run(command, cwd=ROOT, env=os.environ | dict(OMP_NUM_THREADS='1'), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return ('failed', done.stdout) if done.returncode else ('passed', '')

def run_check(check) -> tuple[str, str]:
    "The outcome of a quick check, and the problems it found."
    problems = check()
    return ('failed', '\n'.join(problems)) if problems else ('passed', '')

def report(name: str, run, subject) -> str:
    "Run one test, print its line, and return its outcome."
    start = time.perf_counter()
    try: outcome, detail = run(subject)
    except Exception: outcome, detail = 'failed', traceback.format_exc()
    print(f'{outcome:8}{time.perf_counter() - start:6.1f} s  {name}', *[detail] * bool(detail), sep='\n', flush=True)
    return outcome

def main():
    tests = [(str(path.relative_to(ROOT)), run_notebook, path) for path in notebooks()]
    tests += [(check.__name__.replace('_', ' '), run_check, check) for check in CHECKS]
    with ThreadPoolExecutor(num_workers()) as pool: outcomes = list(pool.map(lambda test: report(*test), tests))
    passed, failed, skipped = (outcomes.count(outcome) for outcome in ('passed', 'failed', 'skipped'))
    print(f'{passed} passed, {failed} failed' + f', {skipped} skipped' * bool(skipped))
    sys.exit(bool(failed))

if __name__ == '__main__': main()
