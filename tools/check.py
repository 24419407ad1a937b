"Checks that run in a second: packaging, links to the repository, and what may be stored in a notebook."
import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from fastcore.nbio import read_nb

from project import NOTEBOOKS, ROOT, links, notebooks, own_addresses, pyproject, settings
from readme import derived

BIGGEST_NOTEBOOK = 1_500_000 # bytes; GitHub shows no notebook much bigger
UNFIT_OUTPUT = re.compile(r'Warning\b|Traceback|TODO|(?<![\w.:/])/(?:home|Users|root|tmp|var|mnt|opt|private|work|content)/|\b[A-Z]:\\')

def library() -> list[Path]:
    "The modules of the library."
    return sorted((ROOT/'s8lib').rglob('*.py'))

def version() -> str:
    "The version in the package's `__init__.py`."
    return re.search(r'^__version__ = "(.+)"', (ROOT/'s8lib/__init__.py').read_text(), re.MULTILINE)[1]

def settings_agree() -> list[str]:
    "`settings.ini`, `pyproject.toml` and the package itself say the same where more than one of them speaks."
    ini, toml = settings(), pyproject()
    pairs = dict(
        lib_name=toml['name'], description=toml['description'], keywords=' '.join(toml['keywords']), license=toml['license'],
        min_python=toml['requires-python'].removeprefix('>='), version=version())
    wrong = [f'settings.ini says {key} = {ini[key]}, elsewhere it is {value}' for key, value in pairs.items() if ini[key] != value]
    stated, expected = toml['urls']['Documentation'], links()['documentation']
    return wrong + [f'pyproject.toml: Documentation is {stated}, but Repository makes it {expected}'] * (stated != expected)

def imported(module: Path) -> set[str]:
    "The top-level names of the packages that a module imports."
    nodes = list(ast.walk(ast.parse(module.read_text(encoding='utf-8'))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name.split('.')[0] for name in plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}}

def requirements_cover_imports() -> list[str]:
    "Everything that the library imports is required by `settings.ini`, for the developers' tools are not there for a user."
    required = {re.split(r'[<>=~!]', requirement)[0].lower() for requirement in settings()['requirements'].split()}
    known = packages_distributions()
    missing = [(module, name) for module in library() for name in sorted(imported(module) - sys.stdlib_module_names - {'s8lib'})
               if not required & {distribution.lower() for distribution in known.get(name, [])}]
    return [f'{module.relative_to(ROOT)} imports {name}, which is in no requirement' for module, name in missing]

def stored_text(cell) -> str:
    "The text that a code cell's outputs show; pictures left out."
    shown = [text for output in cell.get('outputs', []) for text in (output.get('text', ''), *output.get('data', {}).values())]
    return re.sub(r'[\w+/=]{200,}', '', '\n'.join(''.join(text) for text in shown if not isinstance(text, dict)))

def unfit_outputs(notebook: Path) -> list[str]:
    "The outputs of a notebook that a reader should not see."
    problems = []
    for cell in read_nb(notebook).cells:
        kinds = {output.get('name', output['output_type']) for output in cell.get('outputs', [])}
        if kinds & {'stderr', 'error'}: problems.append(f'cell {cell.id} stores an error or a stderr stream')
        problems += [f'cell {cell.id} stores {found!r}' for found in UNFIT_OUTPUT.findall(stored_text(cell))]
    return problems

def notebooks_are_presentable() -> list[str]:
    "No notebook is too big for GitHub, holds widgets, lacks its outputs, or stores a warning, a traceback or a machine's path."
    problems = []
    for path in notebooks():
        notebook, name = read_nb(path), path.relative_to(NOTEBOOKS)
        code = [cell for cell in notebook.cells if cell.cell_type == 'code']
        if path.stat().st_size > BIGGEST_NOTEBOOK: problems.append(f'{name} has {path.stat().st_size:,} bytes')
        if 'widgets' in notebook.metadata: problems.append(f'{name} has metadata.widgets')
        if code and not any(cell.outputs for cell in code): problems.append(f'{name} stores no output: nbdev-test --save')
        problems += [f'{name}: {problem}' for problem in unfit_outputs(path)]
    return problems

def colab_only_calls() -> list[str]:
    "The Colab notebook takes parameters, defines nothing and loops over nothing: the library does it."
    forbidden = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.For, ast.While, ast.Lambda, ast.comprehension)
    cells = [cell for cell in read_nb(NOTEBOOKS/'tutorials/colab.ipynb').cells if cell.cell_type == 'code']
    if not any('parameters' in cell.metadata.get('tags', []) for cell in cells): return ['colab.ipynb has no cell with the tag parameters']
    plain = '\n'.join(re.sub(r'^(\s*)[%!].*', r'\1pass', cell.source, flags=re.MULTILINE) for cell in cells)
    return [f'colab.ipynb has a {type(node).__name__}: {ast.unparse(node)}' for node in ast.walk(ast.parse(plain)) if isinstance(node, forbidden)]

def derived_files_are_in_step() -> list[str]:
    "README and tutorials are as `tools/readme.py` writes them."
    return [f'{path.relative_to(ROOT)} is out of step: run tools/readme.py' for path, text in derived().items()
            if path.read_text(encoding='utf-8') != text]

def owner_is_said_once() -> list[str]:
    "No file names the repository's owner but `pyproject.toml` and those that are written from it."
    written = ('pyproject.toml', 'README.md', 'nbs/tutorials/', 's8lib/')
    listed = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [name for name in listed.splitlines() if not name.startswith(written) and (ROOT/name).is_file()]
    return [f'{name} says {found[0]}' for name in files for found in own_addresses().finditer((ROOT/name).read_text(encoding='utf-8', errors='ignore'))]

def readme_links_are_complete() -> list[str]:
    "Every file that the README links to is there, a picture among them, and every notebook is linked."
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    targets = re.findall(r'(?:\]\(|src="|href=")(?![a-z]+:|#)([^)"#\s]+)', text)
    missing = [f'README.md links to {target}, which is not there' for target in targets if not (ROOT/target).exists()]
    missing += [f'README.md does not link to {path.relative_to(ROOT)}' for path in notebooks()[1:] if str(path.relative_to(ROOT)) not in targets]
    return missing + ['README.md shows no picture'] * (not any(target.endswith(('.png', '.jpg')) for target in targets))

CHECKS = (settings_agree, requirements_cover_imports, notebooks_are_presentable, colab_only_calls,
          derived_files_are_in_step, owner_is_said_once, readme_links_are_complete)

if __name__ == '__main__':
    problems = [problem for check in CHECKS for problem in check()]
    print(*problems, f'{len(CHECKS)} checks, {len(problems)} problems', sep='\n')
    sys.exit(bool(problems))
