"""Run the tests with other versions, in an environment of their own; the last line is a row for CONTRIBUTING.

python tools/versions.py oldest                       # the lowest versions that settings.ini admits
python tools/versions.py colab --python python3.13    # those of Google Colab
python tools/versions.py newest                       # those of the package index"""
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from project import ROOT, settings

def lowest() -> dict[str, str]:
    "The lower bounds of `settings.ini`."
    return dict(text.split('>=') for text in settings()['requirements'].split() if '>=' in text)

# torchvision follows torch; nbdev 3.3.26, which runs the tests, needs fastcore 2.2.28
CELLS = dict(
    oldest=lowest() | dict(torchvision='0.25.0', fastcore='2.2.28'),
    colab=dict(torch='2.11.0', torchvision='0.26.0', numpy='2.1.3', fastcore='2.2.28',
               tensorboard='2.20.0', protobuf='5.*'),
    newest={},
)
COLUMNS = ('torch', 'torchvision', 'numpy', 'fastcore')

def make_environment(folder: Path, python: str) -> Path:
    "The Python of the environment in a folder, which is made if there is none."
    executable = folder/'bin/python'
    if not executable.exists(): subprocess.run([python, '-m', 'venv', folder], check=True)
    return executable

def install(python: Path, versions: dict[str, str]):
    "Install the library and the developers' tools with exactly these versions, or else with the newest."
    with TemporaryDirectory() as folder:
        constraints = Path(folder)/'constraints.txt'
        constraints.write_text(''.join(f'{name}=={version}\n' for name, version in versions.items()))
        upgrade = [] if versions else ['--upgrade', '--upgrade-strategy', 'eager']
        command = [python, '-m', 'pip', 'install', '--quiet', '--constraint', constraints, *upgrade]
        subprocess.run([*command, '--editable', f'{ROOT}[dev]'], check=True)

def run_tests(python: Path) -> str:
    "The last line of `tools/test.py`; all lines are shown as they come."
    lines = []
    with subprocess.Popen([python, ROOT/'tools/test.py'], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end='', flush=True)
            lines.append(line.strip())
    return lines[-1] if lines else 'no test ran'

def installed(python: Path) -> list[str]:
    "The version of Python, and those of the columns, in an environment."
    code = f'''
import platform
from importlib.metadata import version
print(platform.python_version(), *map(version, {COLUMNS}))'''
    return subprocess.run([python, '-c', code], check=True, capture_output=True, text=True).stdout.split()

def arguments() -> Namespace:
    "What the command line asks for."
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('cell', choices=CELLS)
    parser.add_argument('--python', default=sys.executable, help='the Python that makes the environment')
    parser.add_argument('--into', type=Path, help='a folder that keeps the environment, or has one')
    return parser.parse_args()

def main():
    asked = arguments()
    with nullcontext(asked.into) if asked.into else TemporaryDirectory() as folder:
        python = make_environment(Path(folder).absolute(), asked.python)
        install(python, CELLS[asked.cell])
        result = run_tests(python)
        row = [asked.cell, *installed(python), date.today().isoformat(), result]
    print('|', ' | '.join(row), '|')
    sys.exit(' 0 failed' not in result)

if __name__ == '__main__': main()
