"Build the documentation site in `_docs` from the notebooks and their stored outputs, and check it."
import os
import re
import shutil
import sys
from pathlib import Path

import yaml
from nbdev.config import nbpath2html
from nbdev.serve import proc_nbs
from smalldocs.site import build

from markup import finished
from pages import processed, staged
from project import NOTEBOOKS, ROOT, exported_modules, links, notebooks, pyproject
from site_checks import problems_of

STAGED, PAGES, SITE = ROOT/'build/pages', ROOT/'_proc', ROOT/'_docs'
TEXTS = ('CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md')

def page(notebook: Path) -> Path:
    "The place of a notebook's page in the site: its own path without the number."
    return nbpath2html(notebook.relative_to(NOTEBOOKS))

def site_text(name: str) -> str:
    "A text of the repository as a page: its links lead to pages where there is one, else to the repository."
    def target(match):
        path = match[1]
        if path in TEXTS: return f']({path.lower()}'
        notebook = ROOT/path
        if notebook in notebooks(): return f'](/{page(notebook).with_suffix(".ipynb").as_posix()}'
        return f']({links()["repository"]}/blob/main/{path}'
    return re.sub(r'\]\((?![a-z]+:|#)([^)#\s]+)', target, (ROOT/name).read_text(encoding='utf-8'))

def stage_pages():
    "Copy notebooks and texts to where nbdev will process them."
    shutil.rmtree(STAGED, ignore_errors=True)
    shutil.copytree(NOTEBOOKS, STAGED, ignore=shutil.ignore_patterns('*.ipynb', '.*', 'example'))
    for path in notebooks():
        target = (STAGED/page(path)).with_suffix('.ipynb')
        target.write_text(staged(path.read_text(encoding='utf-8')), encoding='utf-8')
    for name in TEXTS: (STAGED/name.lower()).write_text(site_text(name), encoding='utf-8')

def process_pages():
    "Let nbdev add the documentation of functions and the links to it."
    proc_nbs(STAGED.relative_to(ROOT), n_workers=2, force=True)
    texts = {path: processed(path.read_text(encoding='utf-8'), PAGES) for path in PAGES.rglob('*.ipynb')}
    for path, text in texts.items(): path.write_text(text, encoding='utf-8')

# The parts of the reference by the first digit of a page's number, the most wanted first
CHAPTERS = {'7': 'Train, explain, report', '1': 'Images', '2': 'Models and predictions',
            '3': 'Training', '4': 'Maps', '5': 'Explaining mistakes', '6': 'What a run keeps',
            '0': 'Ground', '9': 'The assignment'}

def section(title: str, contents: list) -> dict:
    "A part of the sidebar."
    return dict(section=title, contents=contents)

def sidebar() -> list:
    "Start, how-to, tutorials, the reference by chapters, and what developers of the library read."
    places = {path: str(page(path).with_suffix('.ipynb')) for path in notebooks()}
    modules = set(exported_modules().values())
    def folder(name): return [place for path, place in places.items() if path.parent == NOTEBOOKS/name]
    def chapter(digit): return [places[path] for path in places if path in modules and path.name[0] == digit]
    proofs = [place for path, place in places.items() if path.name[0].isdigit() and path not in modules]
    return [section('Start', ['index.ipynb', 'changelog.md']),
            section('How to', folder('how-to')), section('Tutorials', folder('tutorials')),
            section('Reference', [section(title, chapter(digit)) for digit, title in CHAPTERS.items()]),
            section('For developers', ['contributing.md', 'security.md', *proofs])]

def configure():
    "Complete `_quarto.yml` with what `pyproject.toml` and the notebooks say."
    config = yaml.safe_load((PAGES/'_quarto.yml').read_text(encoding='utf-8'))
    address = links()
    website = config['website']
    website |= dict(title=pyproject()['name'], description=pyproject()['description'])
    website |= {'site-url': address['documentation'], 'repo-url': address['repository']}
    website['navbar']['right'] = [dict(icon='github', text='GitHub', href=address['repository'])]
    website['sidebar']['contents'] = sidebar()
    (PAGES/'_quarto.yml').write_text(yaml.safe_dump(config), encoding='utf-8')
    (PAGES/'_variables.yml').write_text(yaml.safe_dump(address), encoding='utf-8')

def finish_pages():
    "Let 'View source' find its file, and the modules' `Docs:` lines their page in Markdown."
    sources = {page(path): path.relative_to(ROOT).as_posix() for path in notebooks()}
    sources |= {Path(name.lower()).with_suffix('.html'): name for name in TEXTS}
    modules = [name.removeprefix('s8lib.') for name in exported_modules()]
    for place, source in sources.items():
        path = SITE/place
        suffix = '.ipynb' if source.endswith('.ipynb') else '.md'
        text = path.read_text(encoding='utf-8')
        unnumbered = f'/blob/main/nbs/{place.with_suffix(suffix).as_posix()}"'
        text = text.replace(unnumbered, f'/blob/main/{source}"')
        path.write_text(finished(text, modules), encoding='utf-8')
        shutil.copy(path.with_suffix('.llms.md'), path.with_suffix('.html.md'))

def finish_themes():
    "Themes that fetch no font: the site is set in the reader's own."
    for theme in (SITE/'site_libs/themes').glob('*.css'):
        text = re.sub(r'@import url\([^)]*\);?', '', theme.read_text(encoding='utf-8'))
        theme.write_text(text, encoding='utf-8')

def main():
    os.chdir(ROOT)
    stage_pages()
    process_pages()
    configure()
    site = build(PAGES)
    finish_pages()
    finish_themes()
    # nbdev writes `output-file` for Quarto; smalldocs names the pages the same without it
    warnings = [warning for warning in site.warnings if 'output-file' not in warning]
    problems = warnings + problems_of(SITE, {path: page(path) for path in notebooks()})
    shutil.copytree(NOTEBOOKS/'example', SITE/'example', dirs_exist_ok=True)
    print(*problems, f'{len(site.pages)} pages in {SITE.name}, {len(problems)} problems', sep='\n')
    sys.exit(bool(problems))

if __name__ == '__main__': main()
