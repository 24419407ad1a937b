"""What all libraries are given, and what is said of each afterwards; imports no s8lib.

A folder holds `test/<class>/<number>.png` and `logits.npy`, whose row is the number of the image. Libraries
that want a network get one that knows the answers: the first pixel of an image holds its number.
"""
import json
import os
import sys
import time
from pathlib import Path


def image_files(folder: Path) -> list[Path]:
    "The images in the order of their names."
    return sorted((folder / 'test').rglob('*.png'))


def logits_of(folder: Path, files: list[Path]):
    "The given logits of these images, (N, C)."
    import numpy as np
    return np.load(folder / 'logits.npy')[[int(file.stem) for file in files]]


def known_network(folder: Path):
    "A network that gives the given logits to images from 0 to 1."
    import numpy as np
    import torch

    class Known(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer('logits', torch.from_numpy(np.load(folder / 'logits.npy')))
            self.one = torch.nn.Parameter(torch.ones(1))

        def forward(self, images):
            first = (255 * images[:, :, 0, 0]).round().long()
            return self.logits[first @ torch.tensor([65536, 256, 1])] * self.one

    return Known()


def peak_megabytes() -> int:
    "The largest resident memory of each process of this job, summed: servers that it started count too."
    mark = f'S8_PEER={os.environ["S8_PEER"]}'.encode()
    peaks = []
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            if mark not in (folder / 'environ').read_bytes().split(b'\0'): continue
            lines = (folder / 'status').read_text().splitlines()
        except OSError: continue
        peaks += [int(line.split()[1]) for line in lines if line.startswith('VmHWM')]
    return round(sum(peaks) / 1024)


def run(tasks: dict):
    "Do the task that the command line names, in the folder that it names, and print what it took."
    folder, out, task = sys.argv[1:]
    shows = tasks[task](Path(folder), Path(out))
    print(json.dumps(dict(ended=time.time(), megabytes=peak_megabytes(), shows=shows)), flush=True)
