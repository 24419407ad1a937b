"What must hold of the site: links lead somewhere, pictures are described, nothing comes from elsewhere."
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from project import code_cells

FETCHING = dict(script='src', img='src', iframe='src', source='src', video='src', link='href')
NOT_FETCHED = {'canonical', 'alternate', 'next', 'prev'}

TORN = re.compile(r'\]\([\w./-]+\.(?:ipynb|html)[^)]*\)')  # Markdown that came out as text

class Anatomy(HTMLParser):
    "Of one page: its ids, the targets of its links and pictures, what it fetches, its folds, its torn links."
    def __init__(self, text: str):
        super().__init__()
        self.ids, self.targets, self.fetched, self.undescribed, self.folds = set(), [], [], [], []
        self.in_summary = False
        self.torn = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids.add(values.get('id'))
        self.targets += [values[key] for key in ('href', 'src') if values.get(key)]
        address = values.get(FETCHING.get(tag, ''))
        if address and values.get('rel') not in NOT_FETCHED: self.fetched.append(address)
        described = tag != 'img' or (values.get('alt') or '').strip()
        if not described: self.undescribed.append(values.get('src', '')[:40])
        self.in_summary = tag == 'summary'

    def handle_data(self, data):
        if self.in_summary: self.folds.append(data.strip())
        self.torn += TORN.findall(data)
        self.in_summary = False

def broken_links(pages: dict[Path, Anatomy], site: Path) -> list[str]:
    "Every link, anchor and picture inside the site that leads nowhere."
    problems = []
    for path, anatomy in pages.items():
        for link in anatomy.targets:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc: continue
            target = Path(os.path.normpath(path.parent/unquote(parts.path))) if parts.path else path
            target = target/'index.html' if target.is_dir() else target
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in pages[target].ids):
                problems.append(f'{path.relative_to(site)}: {link} leads nowhere')
    return problems

def torn_links(pages: dict[Path, Anatomy], site: Path) -> list[str]:
    "Every link that a page shows as Markdown."
    return [f'{path.relative_to(site)} shows {link} as text' for path, anatomy in pages.items()
            for link in anatomy.torn]

def lost_pictures(pages: dict[Path, Anatomy], places: dict[Path, Path]) -> list[str]:
    "Every page that shows fewer pictures than its notebook stores in cells that are not hidden."
    problems = []
    for notebook, path in places.items():
        cells = [cell for cell in code_cells(notebook) if 'hide' not in cell.directives]
        stored = sum('image/png' in output.get('data', {}) for cell in cells for output in cell.outputs)
        shown = sum(target.startswith('data:image/png') for target in pages[path].targets)
        if shown < stored: problems.append(f'{path.name} shows {shown} of {stored} pictures')
    return problems

def requests_elsewhere(pages: dict[Path, Anatomy], site: Path) -> list[str]:
    "Whatever a page or a stylesheet would fetch from another server as it opens."
    problems = [f'{path.relative_to(site)} fetches {address}' for path, anatomy in pages.items()
                for address in anatomy.fetched if urlsplit(address).netloc]
    for sheet in site.rglob('*.css'):
        text = sheet.read_text(encoding='utf-8')
        addresses = re.findall(r'(?:url\(|@import )["\']?((?:https?:)?//[^"\')]+)', text)
        problems += [f'{sheet.relative_to(site)} fetches {address}' for address in addresses]
    return problems

def undescribed_pictures(pages: dict[Path, Anatomy], site: Path) -> list[str]:
    "Every picture without words for who cannot see it."
    return [f'{path.relative_to(site)}: a picture has no alternative text: {source}'
            for path, anatomy in pages.items() for source in anatomy.undescribed]

def nameless_folds(pages: dict[Path, Anatomy], site: Path) -> list[str]:
    "Every fold that does not say what is in it."
    return [f'{path.relative_to(site)}: a fold is called {name!r}' for path, anatomy in pages.items()
            for name in anatomy.folds if name in ('', 'Code', 'Exported source')]

def problems_of(site: Path, places: dict[Path, Path]) -> list[str]:
    "All that is wrong with a site; `places` are the pages of the notebooks."
    pages = {path: Anatomy(path.read_text(encoding='utf-8')) for path in site.rglob('*.html')}
    shown = {notebook: site/place for notebook, place in places.items()}
    checks = broken_links, torn_links, requests_elsewhere, undescribed_pictures, nameless_folds
    return lost_pictures(pages, shown) + [problem for check in checks for problem in check(pages, site)]
