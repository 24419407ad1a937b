"Import every module of the installed wheel, and show that none of them comes from the checkout."
import sys
from importlib import import_module
from importlib.metadata import requires
from pathlib import Path

from project import ROOT, library, settings

def module_name(path: Path) -> str:
    "The name under which a file of the library is imported."
    return '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')

def main():
    home = Path(sys.prefix).resolve()
    names = [module_name(path) for path in library()]
    strays = [name for name in names if not Path(import_module(name).__file__).resolve().is_relative_to(home)]
    if strays: sys.exit(f'not from the wheel: {", ".join(strays)}')
    stated = {requirement for requirement in requires('s8lib') if 'extra ==' not in requirement}
    expected = set(settings()['requirements'].split())
    if stated != expected: sys.exit(f'the wheel and settings.ini differ in {sorted(stated ^ expected)}')
    print(f'{len(names)} modules imported from the wheel')

if __name__ == '__main__': main()
