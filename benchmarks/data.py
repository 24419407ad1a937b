"""How image files are read, and how a set beyond the memory is: every pixel right, every error with its path.

    python benchmarks/data.py                           # both parts
    python benchmarks/data.py --parts files             # Pillow's test images, two minutes, fetched by pip
    python benchmarks/data.py --parts memory            # a set that is larger than the memory allowed

A part that is not run keeps what it gave before.
"""
from importlib import import_module
from pathlib import Path

from fastcore.script import call_parse
from shared import RESULTS, describe, read_result, words, write_result

PARTS = dict(files='data_files', memory='data_memory')  # a module each: `run` gives a result and paragraphs
TITLE = '# Reading images'


@call_parse
def main(
    parts: str = 'files,memory',  # which, with commas
    data_dir: str = None,  # files: where Pillow's test images are; by default pip fetches them
    out: str = str(RESULTS),  # where the results go
):
    "Run parts of the benchmark and write `data.json` and `data.md`."
    setting = dict(machine=describe('cpu', 'pillow', 'datasets', 'webdataset', 'litdata'))
    for part in parts.split(','):
        options = dict(data_dir=data_dir) if part == 'files' else {}
        outcome, page = import_module(PARTS[part]).run(**options)
        result = read_result('data', Path(out)) or dict(parts={}, pages={})
        result['setting'] = setting
        result['parts'][part] = outcome
        result['pages'][part] = [*page, words(setting)]
        pages = [paragraph for name in PARTS for paragraph in result['pages'].get(name, [])]
        print(write_result('data', result, [TITLE, *pages], out))
