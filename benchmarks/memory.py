"""How much memory a pass and an explanation take: what is counted beforehand, and what Linux measures.

    python benchmarks/memory.py                   # one thread of the CPU, a few minutes

Each row is measured in a process of its own: the highest resident memory above that before the call.
"""
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from fastcore.script import call_parse
from shared import RESULTS, describe, table, words, write_result

from s8lib.data import ChannelStats, ImageSet
from s8lib.explanation import explain
from s8lib.gradcam import cam, choose_layer
from s8lib.memory import BUDGET, images_at_once, live_bytes
from s8lib.models.resnet import resnet18
from s8lib.predictions import Predictions, predict

MEBIBYTE = 2**20
CLASSES = tuple('abcdefghij')
NOTE = ('`explain` has all images in memory, as bytes, and predictions of all of them, which were made '
        'beforehand by chance; the maps are made of as many mistakes as are passed on. More images or '
        'mistakes take more time and no more memory, but for their bytes, logits and maps.')


def resident(kind):
    "Bytes of this process: 'VmRSS' now, 'VmHWM' at most."
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


def random_set(num_images, size):
    "Images of noise."
    random = np.random.default_rng(0)
    images = random.integers(256, size=(num_images, size, size, 3), dtype=np.uint8)
    stats = ChannelStats((.5, .5, .5), (.3, .3, .3))
    return ImageSet(images, random.integers(10, size=num_images), CLASSES, 'test', stats)


def pass_over(images, size, width, num_images):
    "A pass over some images: the call, its computation for one image, and the batch that fits."
    model = resnet18(width=width).eval()
    @torch.no_grad()
    def answer(part): return model(torch.zeros(part.stop - part.start, 3, size, size))
    return partial(predict, model, random_set(num_images, size)), answer


def maps_of(images, size, width, num_images):
    "The Grad-CAM maps of some images for two classes each."
    model = resnet18(width=width).eval()
    inputs = torch.zeros(num_images, 3, size, size)
    layer = choose_layer(model, inputs)
    pairs = torch.tensor([[0, 1]] * num_images)
    def answer(part): return cam(model, inputs[part], pairs[part], layer, batch_size=part.stop - part.start)
    return partial(cam, model, inputs, pairs, layer), answer


def explanation_of(images, size, width, num_images):
    "An explanation of some of the mistakes in a large set whose predictions are there."
    image_set = random_set(images, size)
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(images, 10, generator=random)
    labels = torch.from_numpy(image_set.labels)
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction='none')
    predictions = Predictions(logits, labels, losses, CLASSES)
    call = partial(explain, resnet18(width=width).eval(), image_set, num_images, predictions=predictions)
    return call, maps_of(images, size, width, 1)[1]


JOBS = dict(predict=pass_over, cam=maps_of, explain=explanation_of)


def measure(what, images, size, width, num_images):
    "A row of the table."
    torch.set_num_threads(1)
    call, answer = JOBS[what](images, size, width, num_images)
    need = live_bytes(partial(answer, slice(0, 1)))
    batch = min(num_images, images_at_once(answer, 250 if what == 'predict' else 100))
    before = resident('VmRSS')
    call()
    above = resident('VmHWM') - before
    return {'call': what, 'images': images, 'pixels': size, 'width': width, 'passed on': num_images,
            'MiB an image': need / MEBIBYTE, 'at once': batch, 'MiB counted': batch * need / MEBIBYTE,
            'MiB measured': above / MEBIBYTE, 'measured / counted': above / (batch * need),
            'MiB of the set': images * size * size * 3 / MEBIBYTE}


def in_a_process(*job):
    "The same in a new process, so that nothing is left from the row before."
    with ProcessPoolExecutor(1, get_context('spawn')) as pool: return pool.submit(measure, *job).result()


@call_parse
def main(
    images: int = 10_000,  # in the large set
    num_images: int = 40,  # of it that are passed through the network, since 10,000 take hours on a CPU
    size: int = 224,       # pixels a side
    width: int = 64,       # of the network
    out: Path = RESULTS,   # folder of the results
):
    "Memory of a pass and of an explanation: counted and measured."
    jobs = [('predict', 500, 32, 8, 500), ('predict', 250, 32, width, 250), ('predict', 250, 64, 16, 250),
            ('predict', num_images, size, width, num_images), ('cam', 100, 32, width, 100),
            ('cam', num_images, size, width, num_images), ('explain', images, size, width, num_images)]
    rows = [in_a_process(*job) for job in jobs]
    setting = dict(budget_MiB=BUDGET // MEBIBYTE, threads=1, machine=describe('cpu'))
    page = ['# Memory', f'ResNet-18 of s8lib. {words(setting)}.', NOTE, table(rows)]
    print(write_result('memory', dict(setting=setting, rows=rows), page, out))
