"Build the documentation site in `_docs` from the notebooks and their stored outputs, and check its links."
import ast
import json
import os
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from nbdev.config import nbpath2html
from nbdev.serve import proc_nbs
from smalldocs.site import build

from project import NOTEBOOKS, ROOT, code_cells, links, notebooks, pyproject

STAGED, PAGES, SITE = ROOT/'build/pages', ROOT/'_proc', ROOT/'_docs'

def page(notebook: Path) -> Path:
    "The place of a notebook's page in the site: its own path without the number."
    return nbpath2html(notebook.relative_to(NOTEBOOKS))

def split_title(cells: list) -> list:
    "The cells, with the prose under the title in one of its own: in the title cell nbdev drops it."
    index, cell = next((index, cell) for index, cell in enumerate(cells) if cell['cell_type'] == 'markdown')
    parts = re.match(r'(# .*(?:\n+(?:> |- \w+: ).*)*)?([\s\S]*)', ''.join(cell['source']))
    title, rest = parts.groups(default='')
    below = [cell | dict(source=rest, id=cell['id'] + '-below')] * bool(rest.strip())
    return cells[:index] + [cell | dict(source=title)] + below + cells[index + 1:]

def show_source(cell: dict) -> dict:
    "A cell whose exported code has a place on the page, below its documentation; a cell of imports has none."
    code = ''.join(cell['source'])
    if cell['cell_type'] != 'code' or not code.startswith('#| export\n'): return cell
    if all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.parse(code).body): return cell
    return cell | dict(source=code.replace('#| export', '#| exports', 1))

def stage_pages():
    "Copy the notebooks to where nbdev will process them: without numbers, links to them likewise."
    shutil.rmtree(STAGED, ignore_errors=True)
    shutil.copytree(NOTEBOOKS, STAGED, ignore=shutil.ignore_patterns('*.ipynb', '.*'))
    for path in notebooks():
        text = path.read_text(encoding='utf-8')
        notebook = json.loads(re.sub(r'(\]\((?:[\w.]*/)*)\d+_([\w.]+\.ipynb)', r'\1\2', text))
        notebook['cells'] = [show_source(cell) for cell in split_title(notebook['cells'])]
        target = (STAGED/page(path)).with_suffix('.ipynb')
        target.write_text(json.dumps(notebook), encoding='utf-8')

def anchors(page: str) -> set:
    "The names that have a heading in the processed notebook of a page, as anchors."
    notebook = (PAGES/page).with_suffix('.ipynb')
    text = notebook.read_text(encoding='utf-8') if notebook.exists() else ''
    return {name.lower() for name in re.findall(r'### (\S+)\\n', text)}

def relink(text: str) -> str:
    "Point the links that nbdev wrote to this site's pages, each at the nearest anchor that is there."
    def local(match):
        page = match['page']
        name = match['name'] or ''
        nearest = next((anchor for anchor in (name, name.split('.')[0]) if anchor in anchors(page)), '')
        return f'/{page}' + f'#{nearest}' * bool(nearest)
    documentation = re.escape(links()['documentation'])
    return re.sub(rf'{documentation}(?P<page>[\w./-]+\.html)(#(?P<name>[\w.]+))?', local, text)

def polish(text: str) -> str:
    "A processed notebook whose code is folded, and whose signatures name types without their modules."
    text = text.replace('code-fold: show', 'code-fold: true').replace('Exported source', 'Code')
    text = text.replace('__main__.', '')
    modules = r'(?:s8lib|torch\.nn\.modules|collections|matplotlib)\.(?:\w+\.)*'
    return re.sub(rf'(?<=[:>]){modules}(?=[A-Z])', '', text)

def process_pages():
    "Let nbdev add the documentation of functions and the links to it."
    proc_nbs(STAGED.relative_to(ROOT), n_workers=2, force=True)
    texts = {path: relink(path.read_text(encoding='utf-8')) for path in PAGES.rglob('*.ipynb')}
    for path, text in texts.items(): path.write_text(polish(text), encoding='utf-8')

FOLDERS = {'how-to': 'How to', 'tutorials': 'Tutorials'}

def sidebar() -> list:
    "The pages in reading order, each folder in a part of its own."
    names = [page(path).with_suffix('.ipynb') for path in notebooks()]
    parts = {folder: [str(name) for name in names if name.parts[:-1] == (folder,)] for folder in FOLDERS}
    return ([str(name) for name in names if len(name.parts) == 1]
            + [dict(section=FOLDERS[folder], contents=contents) for folder, contents in parts.items()])

def configure():
    "Complete `_quarto.yml` with what `pyproject.toml` and the notebooks say."
    config, address = yaml.safe_load((PAGES/'_quarto.yml').read_text(encoding='utf-8')), links()
    website = config['website']
    website |= dict(title=pyproject()['name'], description=pyproject()['description'])
    website |= {'site-url': address['documentation'], 'repo-url': address['repository']}
    website['navbar']['right'] = [dict(icon='github', text='GitHub', href=address['repository'])]
    website['sidebar']['contents'] = sidebar()
    (PAGES/'_quarto.yml').write_text(yaml.safe_dump(config), encoding='utf-8')
    (PAGES/'_variables.yml').write_text(yaml.safe_dump(address), encoding='utf-8')

def finish_pages():
    "Let 'View source' find the numbered notebooks, and the modules' `Docs:` lines their page in Markdown."
    for notebook in notebooks():
        html = SITE/page(notebook)
        unnumbered = f'/blob/main/nbs/{page(notebook).with_suffix(".ipynb").as_posix()}"'
        text = html.read_text(encoding='utf-8')
        text = text.replace(unnumbered, f'/blob/main/{notebook.relative_to(ROOT).as_posix()}"')
        html.write_text(text, encoding='utf-8')
        shutil.copy(html.with_suffix('.llms.md'), html.with_suffix('.html.md'))

class Anatomy(HTMLParser):
    "The ids of one page, and the targets of its links and pictures."
    def __init__(self, text: str):
        super().__init__()
        self.ids, self.targets = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids.add(values.get('id'))
        self.targets += [values[key] for key in ('href', 'src') if values.get(key)]

def broken_links() -> list[str]:
    "Every link, anchor and picture inside the site that leads nowhere."
    pages = {path: Anatomy(path.read_text(encoding='utf-8')) for path in SITE.rglob('*.html')}
    problems = []
    for path, anatomy in pages.items():
        for link in anatomy.targets:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc: continue
            target = Path(os.path.normpath(path.parent/unquote(parts.path))) if parts.path else path
            target = target/'index.html' if target.is_dir() else target
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in pages[target].ids):
                problems.append(f'{path.relative_to(SITE)}: {link} leads nowhere')
    return problems

def lost_pictures() -> list[str]:
    "Every page that shows fewer pictures than its notebook stores in cells that are not hidden."
    problems = []
    for notebook in notebooks():
        cells = [cell for cell in code_cells(notebook) if 'hide' not in cell.directives]
        stored = sum('image/png' in output.get('data', {}) for cell in cells for output in cell.outputs)
        targets = Anatomy((SITE/page(notebook)).read_text(encoding='utf-8')).targets
        shown = sum(target.startswith('data:image/png') for target in targets)
        if shown < stored: problems.append(f'{page(notebook)} shows {shown} of {stored} pictures')
    return problems

def main():
    os.chdir(ROOT)
    stage_pages()
    process_pages()
    configure()
    site = build(PAGES)
    finish_pages()
    # nbdev writes `output-file` for Quarto; smalldocs names the pages the same without it
    warnings = [warning for warning in site.warnings if 'output-file' not in warning]
    problems = warnings + broken_links() + lost_pictures()
    print(*problems, f'{len(site.pages)} pages in {SITE.name}, {len(problems)} problems', sep='\n')
    sys.exit(bool(problems))

if __name__ == '__main__': main()
