"""All that stands between an edited notebook and a commit; the last lines are what changed, and the problems.
Pages run after the export: they import the modules of other pages.

python tools/prepare.py                          # export, clean, README, checks
python tools/prepare.py nbs/460_gradcam.ipynb     # and store this page's outputs"""
import subprocess
import sys
import sysconfig
from pathlib import Path

import check
from project import HAND_WRITTEN, ROOT, exported_modules, library, notebooks
from test import run_notebook

def contents() -> dict[Path, bytes]:
    "The files that this tool may write, as they are now."
    return {path: path.read_bytes() for path in [*notebooks(), *library(), ROOT/'README.md']}

def remove_stale_modules():
    "Delete the modules that no page exports any more: nbdev never does."
    exported = {(ROOT/module.replace('.', '/')).with_suffix('.py') for module in exported_modules()}
    for path in library():
        if path not in exported and path.name not in HAND_WRITTEN: path.unlink()

def run(command: str, *arguments) -> list[str]:
    "Run one of the installed commands, or Python; the problem is what a failure said."
    path = Path(sysconfig.get_path('scripts'))/command
    done = subprocess.run([path, *arguments], cwd=ROOT, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return [f'{command} failed:\n{done.stdout}'] if done.returncode else []

def export() -> list[str]:
    "Write the modules anew."
    remove_stale_modules()
    return run('nbdev-export')

def store_outputs(page: Path) -> list[str]:
    "Run a page and keep its outputs."
    outcome, text = run_notebook(page, '--save')
    return [f'{page.name} {outcome}:\n{text}'] if outcome != 'passed' else []

def changes(before: dict[Path, bytes], after: dict[Path, bytes]) -> list[str]:
    "What happened to the files between two moments, a line each."
    words = {path: 'new' if path not in before else 'deleted' if path not in after else 'changed'
             for path in sorted({*before, *after}) if before.get(path) != after.get(path)}
    return [f'{word:8} {path.relative_to(ROOT)}' for path, word in words.items()]

def main():
    pages = [Path(name).resolve() for name in sys.argv[1:]]
    before = contents()
    problems = export()
    for page in pages: problems += store_outputs(page)
    problems += run('nbdev-clean') + run('python', 'tools/readme.py')
    problems += [problem for function in check.CHECKS for problem in function()]
    print(*changes(before, contents()), *problems, f'{len(problems)} problems', sep='\n')
    sys.exit(bool(problems))

if __name__ == '__main__': main()
