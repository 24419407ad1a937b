"Write `README.md` from `nbs/index.ipynb`, and carry the repository's owner to the links in the tutorials."
import re
from pathlib import Path

from fastcore.nbio import read_nb

from project import NOTEBOOKS, ROOT, links, own_addresses, repository

HEADER = '<!-- Written by tools/readme.py from nbs/index.ipynb: edit the notebook. -->'

def fenced(text: str, language: str = '') -> str:
    "A code block."
    return f'```{language}\n{text.rstrip()}\n```'

def output_blocks(cell) -> list[str]:
    "The stored text of a code cell; pictures belong in `nbs/images`, where page and README both find them."
    outputs = cell.get('outputs', [])
    texts = [output.get('text') or output.get('data', {}).get('text/plain', '') for output in outputs]
    return [fenced(''.join(text)) for text in texts if text]

def cell_blocks(cell) -> list[str]:
    "The Markdown of one cell; nothing for a hidden one."
    if cell.cell_type == 'markdown': return [cell.source]
    if cell.cell_type != 'code' or 'hide' in cell.directives: return []
    code = re.sub(r'^#\|.*\n?', '', cell.source, flags=re.MULTILINE)
    return [fenced(code, 'python')] * bool(code.strip()) + output_blocks(cell)

def readme() -> str:
    "The text of `README.md`."
    blocks = [block for cell in read_nb(NOTEBOOKS/'index.ipynb').cells for block in cell_blocks(cell)]
    text = '\n\n'.join([HEADER, *blocks]) + '\n'
    text = re.sub(r'\{\{<\s*var\s+(\w+)\s*>\}\}', lambda match: links()[match[1]], text)
    return re.sub(r'(\]\(|src="|href=")(?![a-z]+:|[#/])', r'\1nbs/', text)

def with_owner(text: str) -> str:
    "A text whose links to this repository name its owner."
    return own_addresses().sub(lambda match: (match[1] or match[2]) + repository()[0], text)

def derived() -> dict[Path, str]:
    "The files that this tool writes, and what they should say."
    paths = (NOTEBOOKS/'tutorials').glob('*.ipynb')
    tutorials = {path: with_owner(path.read_text(encoding='utf-8')) for path in paths}
    return {ROOT/'README.md': readme(), **tutorials}

if __name__ == '__main__':
    for path, text in derived().items(): path.write_text(text, encoding='utf-8')
