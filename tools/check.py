"Checks that run in seconds: packaging, links to the repository, what a notebook may store, and style."
import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from fastcore.nbio import read_nb

from project import (
    NOTEBOOKS, ROOT, code, code_cells, library, links, notebooks, own_addresses, pyproject, settings)
from readme import derived
from style import STYLE

BIGGEST_NOTEBOOK = 1_500_000  # bytes; GitHub shows no notebook much bigger
FOLDERS = r'(?<![\w.:/])/(?:home|Users|root|tmp|var|mnt|opt|private|work|content)/|\b[A-Z]:\\'
EXECUTING = re.compile(r'(?:torch|np|numpy|torch\.jit|torch\.hub)\.load|'
                       r'os\.(?:system|popen|startfile|(?:exec|spawn|posix_spawn)\w*)')
EXECUTING_CALLS = {'eval', 'exec', 'compile', '__import__'}
HOLDERS = {'torch', 'numpy', 'os', 'pickle'}  # of such calls: no other names for them
EXECUTING_MODULES = {'subprocess', 'marshal', 'shelve', 'dill', 'cloudpickle', 'joblib', 'runpy', 'code'}
UNFIT_OUTPUT = re.compile(rf'Warning\b|Traceback|TODO|{FOLDERS}')

def version() -> str:
    "The version in the package's `__init__.py`."
    return re.search(r'^__version__ = "(.+)"', (ROOT/'s8lib/__init__.py').read_text(), re.MULTILINE)[1]

def settings_agree() -> list[str]:
    "`settings.ini`, `pyproject.toml` and the package itself say the same where more than one of them speaks."
    ini = settings()
    toml = pyproject()
    others = dict(
        lib_name=toml['name'], description=toml['description'], keywords=' '.join(toml['keywords']),
        license=toml['license'], min_python=toml['requires-python'].removeprefix('>='), version=version())
    problems = [f'settings.ini says {key} = {ini[key]}, elsewhere it is {value}'
                for key, value in others.items() if ini[key] != value]
    if toml['urls']['Documentation'] != links()['documentation']:
        problems.append(f'pyproject.toml: Repository makes Documentation {links()["documentation"]}')
    return problems

def imported(tree: ast.AST) -> set[str]:
    "The top-level names of the packages that are imported anywhere in a syntax tree."
    nodes = list(ast.walk(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.split('.')[0] for name in names}

def required_by(key: str) -> set[str]:
    "The distributions that a list of `settings.ini` requires, without their versions."
    return {re.split(r'[<>=~!]', text)[0].lower() for text in settings()[key].split()}

def requirements_cover_imports() -> list[str]:
    "What the library imports is required by `settings.ini`; in a function `onnx` or IPython will do."
    sources = packages_distributions()
    problems = []
    for module in library():
        tree = ast.parse(module.read_text(encoding='utf-8'))
        functions = ast.Module([node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)], [])
        late = imported(functions)
        for name in sorted(imported(tree) - sys.stdlib_module_names - {'s8lib'}):
            extra = {'ipython', *required_by('onnx_requirements')} if name in late else set()
            required = required_by('requirements') | extra
            if required.isdisjoint(distribution.lower() for distribution in sources.get(name, [])):
                problems.append(f'{module.relative_to(ROOT)} imports {name}, which is in no requirement')
    return problems

def stored_text(cell) -> str:
    "The text that a code cell's outputs show; pictures left out."
    texts = [text for output in cell.get('outputs', [])
             for text in (output.get('text', ''), *output.get('data', {}).values())]
    plain = '\n'.join(''.join(text) for text in texts if not isinstance(text, dict))
    return re.sub(r'[\w+/=]{200,}', '', plain)

def unfit_outputs(notebook: Path) -> list[str]:
    "The outputs of a notebook that a reader should not see."
    problems = []
    for cell in code_cells(notebook):
        kinds = {output.get('name', output['output_type']) for output in cell.get('outputs', [])}
        if kinds & {'stderr', 'error'}: problems.append(f'cell {cell.id} stores an error or a stderr stream')
        problems += [f'cell {cell.id} stores {words!r}' for words in UNFIT_OUTPUT.findall(stored_text(cell))]
    return problems

def notebooks_are_presentable() -> list[str]:
    "Notebooks fit on GitHub, hold no widgets, and store outputs, without a warning or a machine's path."
    problems = []
    for path in notebooks():
        cells = code_cells(path)
        name = path.relative_to(NOTEBOOKS)
        num_bytes = path.stat().st_size
        if num_bytes > BIGGEST_NOTEBOOK: problems.append(f'{name} has {num_bytes:,} bytes')
        if 'widgets' in read_nb(path).metadata: problems.append(f'{name} has metadata.widgets')
        if cells and not any(cell.outputs for cell in cells): problems.append(f'{name} stores no output')
        problems += [f'{name}: {problem}' for problem in unfit_outputs(path)]
    return problems

def pictures_have_words() -> list[str]:
    "Every cell that shows a picture says in its first line what is to be seen."
    return [f'{path.name}: cell {cell.id} shows a picture; say in its first line: #| fig-alt: "..."'
            for path in notebooks() for cell in code_cells(path) if 'hide' not in cell.directives
            and any('image/png' in output.get('data', {}) for output in cell.outputs)
            and not re.match(r'#\| fig-alt: ".{20,}"\n', cell.source)]

def colab_only_calls() -> list[str]:
    "The Colab notebook takes parameters, defines nothing and loops over nothing: the library does it."
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    loops = (ast.For, ast.While, ast.comprehension)
    cells = code_cells(NOTEBOOKS/'tutorials/colab.ipynb')
    problems = [f'colab.ipynb has a {type(node).__name__}: {ast.unparse(node)}'
                for node in ast.walk(ast.parse(code(cells))) if isinstance(node, definitions + loops)]
    tagged = any('parameters' in cell.metadata.get('tags', []) for cell in cells)
    return problems + ['colab.ipynb has no cell with the tag parameters'] * (not tagged)

def derived_files_are_in_step() -> list[str]:
    "README and tutorials are as `tools/readme.py` writes them."
    return [f'{path.relative_to(ROOT)} is out of step: run tools/readme.py'
            for path, text in derived().items() if path.read_text(encoding='utf-8') != text]

def example_is_current() -> list[str]:
    "The example report works by the script that reports have today."
    text = (NOTEBOOKS/'example/report.html').read_text(encoding='utf-8')
    if (ROOT/'s8lib/browser.js').read_text(encoding='utf-8').strip() in text: return []
    return ['nbs/example/report.html is of an older script: see CONTRIBUTING.md']

def committed_files() -> list[str]:
    "The files that git knows, or would take."
    command = ['git', 'ls-files', '-co', '--exclude-standard']
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in names if (ROOT/name).is_file()]

def owner_is_said_once() -> list[str]:
    "No file names the repository's owner but `pyproject.toml` and those that are written from it."
    written = ('pyproject.toml', 'README.md', 'nbs/tutorials/', 's8lib/')
    texts = {name: (ROOT/name).read_text(encoding='utf-8', errors='ignore')
             for name in committed_files() if not name.startswith(written)}
    return [f'{name} says {address[0]}' for name, text in texts.items()
            for address in own_addresses().finditer(text)]

def readme_links_are_complete() -> list[str]:
    "Every file that the README links to is there, a picture among them, and every notebook is linked."
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    targets = re.findall(r'(?:\]\(|src="|href=")(?![a-z]+:|#)([^)"#\s]+)', text)
    unlinked = {str(path.relative_to(ROOT)) for path in notebooks()[1:]}.difference(targets)
    problems = [f'README.md links to {target}, which is not there'
                for target in targets if not (ROOT/target).exists()]
    problems += [f'README.md does not link to {name}' for name in sorted(unlinked)]
    pictures = [target for target in targets if target.endswith(('.png', '.jpg'))]
    return problems + ['README.md shows no picture'] * (not pictures)

def executes(node: ast.AST) -> bool:
    "Whether a node names what executes text or bytes, or starts a program."
    if isinstance(node, ast.Import):
        return any(name.name in EXECUTING_MODULES or name.name in HOLDERS and name.asname not in (None, 'np')
                   for name in node.names)
    if isinstance(node, ast.ImportFrom):
        names = [f'{node.module}.{name.name}' for name in node.names]
        return node.module in EXECUTING_MODULES | {'pickle'} or any(map(EXECUTING.fullmatch, names))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name): return node.func.id in EXECUTING_CALLS
    return isinstance(node, ast.Attribute) and EXECUTING.fullmatch(ast.unparse(node)) is not None

def nothing_is_executed() -> list[str]:
    "No module reads bytes in a way that can call anything; `pickle` is the base of one reader, and no more."
    problems = []
    bases = []
    num_uses = 0
    for module in library():
        nodes = list(ast.walk(ast.parse(module.read_text(encoding='utf-8'))))
        problems += [f'{module.name} line {node.lineno}: {ast.unparse(node)}'
                     for node in nodes if executes(node)]
        num_uses += sum(isinstance(node, ast.Name) and node.id == 'pickle' for node in nodes)
        classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
        bases += [ast.unparse(base) for node in classes for base in node.bases]
    if num_uses != 1 or 'pickle.Unpickler' not in bases:
        problems.append(f'pickle is used {num_uses} times; it may be the base of one class, and nothing else')
    return problems

def ruff_agrees() -> list[str]:
    "Modules, notebooks and tools keep the rules of `[tool.ruff]` in `pyproject.toml`."
    command = [sys.executable, '-m', 'ruff', 'check', '--quiet', '--output-format', 'concise']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return (done.stdout + done.stderr).splitlines() if done.returncode else []

CHECKS = (settings_agree, requirements_cover_imports, notebooks_are_presentable, pictures_have_words,
          colab_only_calls, derived_files_are_in_step,
          example_is_current, owner_is_said_once, readme_links_are_complete,
          nothing_is_executed, ruff_agrees, *STYLE)

def main():
    problems = [problem for check in CHECKS for problem in check()]
    print(*problems, f'{len(CHECKS)} checks, {len(problems)} problems', sep='\n')
    sys.exit(bool(problems))

if __name__ == '__main__': main()
