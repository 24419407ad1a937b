"From a notebook to its page: module names in titles, documentation before source, tests folded."
import ast
import json
import re
from pathlib import Path

from project import links

TESTS = re.compile(r'test_\w+|expect_fail|assert_\w+|approx')

def text(cell: dict) -> str:
    "The source of a cell."
    return ''.join(cell['source'])

def is_code(cell: dict) -> bool:
    "Whether a cell holds code."
    return cell['cell_type'] == 'code'

def statements(cell: dict) -> list:
    "What a code cell does, statement by statement, without its directives."
    source = re.sub(r'^(\s*)[%!].*', r'\1pass', text(cell), flags=re.MULTILINE)
    return ast.parse(source).body

def only_imports(cell: dict) -> bool:
    "Whether a code cell does nothing but import."
    nodes = statements(cell)
    return bool(nodes) and all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in nodes)

def module_name(cells: list) -> str:
    "The module that a notebook exports, without the library's name; empty where it exports none."
    match = next(filter(None, (re.match(r'#\| *default_exp +(\S+)', text(cell)) for cell in cells)), None)
    return match[1] if match else ''

def split_title(cells: list) -> list:
    "The cells, with the module in the title, and the prose under it in its own: nbdev drops it there."
    index, cell = next((index, cell) for index, cell in enumerate(cells) if cell['cell_type'] == 'markdown')
    parts = re.match(r'(# .*(?:\n+(?:> |- \w+: ).*)*)?([\s\S]*)', text(cell))
    title, rest = parts.groups(default='')
    name = module_name(cells)
    if name: title = title.replace('# ', f'# {name}: ', 1)
    below = [cell | dict(source=rest, id=cell['id'] + '-below')] * bool(rest.strip())
    return cells[:index] + [cell | dict(source=title)] + below + cells[index + 1:]

def show_source(cell: dict) -> dict:
    "A cell whose exported code has a place on the page, below its documentation; a cell of imports has none."
    if not is_code(cell) or not text(cell).startswith('#| export\n') or only_imports(cell): return cell
    return cell | dict(source=text(cell).replace('#| export', '#| exports', 1))

def is_check(node: ast.AST) -> bool:
    "Whether a statement only checks something."
    if isinstance(node, ast.Assert): return True
    if isinstance(node, (ast.For, ast.With)):
        heads = [item.context_expr for item in node.items] if isinstance(node, ast.With) else node.body
        return all(is_check(head) for head in heads)
    call = node.value if isinstance(node, ast.Expr) else node
    return isinstance(call, ast.Call) and bool(TESTS.fullmatch(ast.unparse(call.func).rsplit('.', 1)[-1]))

def tested_names(cell: dict, exported: list[str]) -> list[str]:
    "The names of the module that a cell uses, in its order, at most four."
    used = [node.id for node in ast.walk(ast.parse('\n'.join(map(ast.unparse, statements(cell)))))
            if isinstance(node, ast.Name)]
    return [name for name in dict.fromkeys(used) if name in exported and not name.startswith('_')][:4]

def fold(cell: dict, summary: str) -> dict:
    "A cell whose code is folded under a name; what it shows stays."
    return cell | dict(source=f'#| code-fold: true\n#| code-summary: "{summary}"\n{text(cell)}')

def fold_tests(cells: list) -> list:
    "The cells, with the imports of the examples folded, and each cell that checks more than it shows."
    exported = [name for cell in cells if is_code(cell) and re.match(r'#\| *export', text(cell))
                for name in defined_names(cell)]
    return [fold_test(cell, exported) for cell in cells]

def fold_test(cell: dict, exported: list[str]) -> dict:
    "A cell of imports, or of tests, folded; any other as it is."
    if not is_code(cell) or re.match(r'#\| *(?!fig-alt)', text(cell)): return cell
    if only_imports(cell): return fold(cell, 'Imports of the examples')
    checks = sum(map(is_check, statements(cell)))
    if 2 * checks < len(statements(cell)) or not checks: return cell
    return fold(cell, f'Test of {", ".join(tested_names(cell, exported))}'.removesuffix(' of '))

def defined_names(cell: dict) -> list[str]:
    "The functions, classes and values that a cell defines, in its order."
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = []
    for node in statements(cell):
        if isinstance(node, kinds): names.append(node.name)
        targets = ast.walk(node.targets[0]) if isinstance(node, ast.Assign) else ()
        names += [name.id for name in targets if isinstance(name, ast.Name)]
    return names

def staged(source: str) -> str:
    "A notebook as nbdev will process it: links without the numbers of pages, and its cells as above."
    notebook = json.loads(re.sub(r'(\]\((?:[\w.]*/)*)\d+_([\w.]+\.ipynb)', r'\1\2', source))
    cells = split_title(notebook['cells'])
    if module_name(cells): cells = fold_tests(cells)
    return json.dumps(notebook | dict(cells=[show_source(cell) for cell in cells]))

def is_documentation(cell: dict) -> bool:
    "Whether a processed cell shows the documentation of a name."
    return is_code(cell) and 'show_doc(' in text(cell) and '#| echo: false' in text(cell)

def is_source(cell: dict) -> bool:
    "Whether a processed cell shows exported code."
    return is_code(cell) and '#| exports: true' in text(cell)

def tidied(block: list) -> list:
    "Documentation in the order of the source, then the source of all of it under one name."
    sources = [cell for cell in block if is_source(cell)]
    if not sources: return block
    names = [name for cell in sources for name in defined_names(cell)]
    def place(cell):
        name = re.search(r'show_doc\(([\w.]+)', text(cell))[1].split('.')[0]
        return names.index(name) if name in names else len(names)
    documented = sorted((cell for cell in block if is_documentation(cell)), key=place)
    public = [name for name in names if not name.startswith('_')] or names
    title = f'Source of {", ".join(public)}'.removesuffix(' of ')
    parts = [re.sub(r'^#\|.*\n', '', text(cell), flags=re.MULTILINE).strip('\n') for cell in sources]
    joined = sources[0] | dict(source='\n\n'.join(parts), outputs=[])
    return documented + [fold(joined, title)]

def check_documentation(cells: list):
    "Raise where a name's documentation could not be made: the kernel would show its plain text instead."
    for cell in filter(is_documentation, cells):
        if not any('text/markdown' in output.get('data', {}) for output in cell['outputs']):
            raise ValueError(f'no documentation of {text(cell).splitlines()[-1]}')

def blocks(cells: list) -> list:
    "The cells, each row of documentation and source between others tidied."
    done, block = [], []
    for cell in cells + [None]:
        if cell is not None and (is_documentation(cell) or is_source(cell)):
            block.append(cell)
            continue
        done += tidied(block)
        block = []
        if cell is not None: done.append(cell)
    return done

NESTED = re.compile(r'\[([^\[\]]*)\[(`[^`]+`)\]\([^)]*\)([^\[\]]*)\]\(')

def unnested(source: str) -> str:
    "Take out the links that nbdev wrote into the text of a link, which Markdown cannot show."
    flat = NESTED.sub(r'[\1\2\3](', source)
    return flat if flat == source else unnested(flat)

def relinked(source: str, pages: Path) -> str:
    "Point the links that nbdev wrote to this site's pages, each at the nearest anchor that is there."
    def anchors(page: str) -> set:
        notebook = (pages/page).with_suffix('.ipynb')
        content = notebook.read_text(encoding='utf-8') if notebook.exists() else ''
        return {name.lower() for name in re.findall(r'### (\S+)\\n', content)}
    def local(match):
        page = match['page']
        name = match['name'] or ''
        nearest = next((anchor for anchor in (name, name.split('.')[0]) if anchor in anchors(page)), '')
        return f'/{page}' + f'#{nearest}' * bool(nearest)
    documentation = re.escape(links()['documentation'])
    return re.sub(rf'{documentation}(?P<page>[\w./-]+\.html)(#(?P<name>[\w.]+))?', local, unnested(source))

def processed(source: str, pages: Path) -> str:
    "A notebook that nbdev processed, as the site shows it."
    notebook = json.loads(relinked(source.replace('__main__.', ''), pages))
    check_documentation(notebook['cells'])
    return json.dumps(notebook | dict(cells=blocks(notebook['cells'])))
