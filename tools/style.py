"Checks of the rules of style that ruff does not know, on the code that the notebooks export."
import ast
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from fastcore.nbio import read_nb
from project import code, code_cells, exported_modules, notebooks

LONGEST_BODY = 16  # lines of a function below its docstring
MOST_CELLS = 45
LATEX = re.compile(r'\\|\$.+\$', re.DOTALL)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
NAMES = 'False|None|True|Muon|Okabe|Triton'  # with these a comment may begin, and with acronyms
UNFIT_COMMENT = re.compile(rf'#(?! )|# +(?!(?:{NAMES})\b)[A-Z][a-z]+(?![\w-])|.*[^.]\.$')

def exported() -> dict[Path, str]:
    "The pages that have a module, and the code that they export."
    return {page: code([cell for cell in code_cells(page) if 'export' in cell.directives])
            for page in exported_modules().values()}

def nodes(*kinds: type) -> Iterator[tuple[Path, ast.AST]]:
    "All nodes of these kinds in the syntax trees of the exported code, each with its page."
    for page, text in exported().items():
        for node in ast.walk(ast.parse(text, page.name)):
            if isinstance(node, kinds): yield page, node

def numbered() -> list[Path]:
    "The pages of the book, in reading order."
    return [path for path in notebooks() if path.name[0].isdigit()]

def imported_names(page: Path) -> set[str]:
    "The full names that a page imports in any cell, modules and what is in them alike."
    names = set()
    for node in ast.walk(ast.parse(code(code_cells(page)), page.name)):
        if not isinstance(node, (ast.Import, ast.ImportFrom)): continue
        module = [node.module] if isinstance(node, ast.ImportFrom) else []
        names |= {'.'.join([*module, alias.name]) for alias in node.names}.union(module)
    return names

def pages_import_lower_numbers() -> list[str]:
    "A page imports modules of lower numbers, in its tests too; only the command's actions import `main`."
    modules = exported_modules()
    imports = [(page, module) for page in numbered()
               for module in sorted(imported_names(page) & modules.keys())]
    return [f'{page.name} imports {module}' for page, module in imports
            if page != modules[module] and (page.name < modules[module].name or module == 's8lib.main')
            and (page.name, module) != ('708_actions.ipynb', 's8lib.main')]

def numbers_are_unique() -> list[str]:
    "No two pages have the same number, which is their place in the book."
    pages = {}
    for page in numbered(): pages.setdefault(page.name.split('_')[0], []).append(page.name)
    return [f'{" and ".join(names)} have the same number' for names in pages.values() if len(names) > 1]

def is_double(node: ast.Assign) -> bool:
    "Whether an assignment is several in one line: tuples on both sides, and no exchange."
    targets = node.targets[0]
    value = node.value
    if not (isinstance(targets, ast.Tuple) and isinstance(value, ast.Tuple)): return False
    return set(map(ast.unparse, targets.elts)) != set(map(ast.unparse, value.elts))

def one_assignment_a_line() -> list[str]:
    "No line assigns several unrelated values; to exchange two, or to unpack a result, is one thought."
    return [f'{page.name}: two lines would be clearer: {ast.unparse(node)}'
            for page, node in nodes(ast.Assign) if is_double(node)]

def functions_are_short() -> list[str]:
    "No function is longer than a reader can hold in mind."
    problems = []
    for page, node in nodes(*FUNCTIONS):
        below = node.body[1:] if ast.get_docstring(node) else node.body
        lines = node.end_lineno - below[0].lineno + 1 if below else 0
        if lines > LONGEST_BODY: problems.append(f'{page.name}: {node.name} has {lines} lines')
    return problems

def docstrings_are_plain() -> list[str]:
    "No docstring holds LaTeX or a backslash: `help()` shows them as they are."
    return [f'{page.name}: the docstring of {node.name} has LaTeX or a backslash'
            for page, node in nodes(ast.ClassDef, *FUNCTIONS) if LATEX.search(ast.get_docstring(node) or '')]

def comments(text: str) -> Iterator[tuple[str, str]]:
    "The comments behind code, such as those of parameters: the code before, and the comment."
    for token in tokenize.generate_tokens(StringIO(text).readline):
        before = token.line[:token.start[1]]
        if token.type == tokenize.COMMENT and before.strip(): yield before, token.string

def comments_are_alike() -> list[str]:
    "A comment behind code: two spaces before it, a small letter or a name first, no full stop at the end."
    return [f'{page.name}: two spaces, a small letter, no full stop: {before.lstrip()}{comment}'
            for page, text in exported().items() for before, comment in comments(text)
            if not before.endswith('  ') or UNFIT_COMMENT.match(comment)]

def names_are_defined_once() -> list[str]:
    "No page exports two values of one name: the second hides the first."
    problems = []
    for page, text in exported().items():
        targets = [node.targets[0] for node in ast.parse(text).body if isinstance(node, ast.Assign)]
        counts = Counter(target.id for target in targets if isinstance(target, ast.Name))
        problems += [f"{page.name}: {count} times {name}" for name, count in counts.items() if count > 1]
    return problems

def pages_are_short() -> list[str]:
    "No page has more cells than a reader follows at a sitting: more are two subjects."
    counts = {page: len(read_nb(page).cells) for page in exported_modules().values()}
    return [f'{page.name} has {count} cells' for page, count in counts.items() if count > MOST_CELLS]

STYLE = (pages_import_lower_numbers, numbers_are_unique, one_assignment_a_line, functions_are_short,
         docstrings_are_plain, comments_are_alike, names_are_defined_once, pages_are_short)
