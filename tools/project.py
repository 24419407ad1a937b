"What the tools here need to know of the project: its root, settings, owner, modules and notebooks."
import re
import tomllib
from configparser import ConfigParser
from pathlib import Path

from fastcore.nbio import read_nb

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT/'nbs'
HAND_WRITTEN = '__init__.py', '__main__.py'  # of the package; all other modules are exported

def pyproject() -> dict:
    "The `[project]` table of `pyproject.toml`."
    return tomllib.loads((ROOT/'pyproject.toml').read_text(encoding='utf-8'))['project']

def settings() -> dict:
    "The keys of `settings.ini`."
    config = ConfigParser(delimiters=['='])
    config.read(ROOT/'settings.ini', encoding='utf-8')
    return dict(config['DEFAULT'])

def repository() -> tuple[str, str]:
    "Owner and name of the repository on GitHub, from the one place that says them."
    owner, name = pyproject()['urls']['Repository'].removeprefix('https://github.com/').split('/')
    return owner, name

def own_addresses() -> re.Pattern:
    "What finds the owner in a link to this repository or its site; the groups hold what stands before."
    name = repository()[1]
    hosts = r'(?:github\.com|google\.com/github|githubusercontent\.com)'
    return re.compile(rf'({hosts}/)[\w.-]+(?=/{name}\b)|(https://)[\w-]+(?=\.github\.io/{name}\b)')

def links() -> dict:
    "The project's addresses; a notebook says `{{< var documentation >}}` for one of them."
    owner, name = repository()
    github = f'github.com/{owner}/{name}'
    return dict(
        repository=f'https://{github}', documentation=f'https://{owner}.github.io/{name}/', install=f'git+https://{github}',
        colab=f'https://colab.research.google.com/github/{owner}/{name}/blob/main/nbs/tutorials/colab.ipynb')

def library() -> list[Path]:
    "The modules of the library."
    return sorted((ROOT/'s8lib').rglob('*.py'))

def notebooks() -> list[Path]:
    "All notebooks in reading order: the index, the numbered pages, the tutorials."
    paths = [path for path in NOTEBOOKS.rglob('*.ipynb') if '.ipynb_checkpoints' not in path.parts]
    return sorted(paths, key=lambda path: (path.stem != 'index', path.parent != NOTEBOOKS, path))

def code_cells(notebook: Path) -> list:
    "The code cells of a notebook."
    return [cell for cell in read_nb(notebook).cells if cell.cell_type == 'code']

def code(cells: list) -> str:
    "The text of cells as Python can parse it: a line for IPython or the shell becomes `pass`."
    return re.sub(r'^(\s*)[%!].*', r'\1pass', '\n'.join(cell.source for cell in cells), flags=re.MULTILINE)

def exported_modules() -> dict[str, Path]:
    "The modules that the notebooks export, such as `s8lib.models.resnet`, and the notebook of each."
    return {f's8lib.{cell.directives["default_exp"]}': path
            for path in notebooks() for cell in code_cells(path) if 'default_exp' in cell.directives}
