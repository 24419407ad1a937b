"""Measure what the memory of each image costs: its share of a training step, and its bytes.

    OMP_NUM_THREADS=1 python benchmarks/dynamics.py

A network trains on random batches, and after each step a recorder is told, as `fit` tells it. Both are
timed alone within the same steps, so that what else the machine does weighs on both; the share is that of
the medians. The bytes of an epoch are those of the tensors that are kept, with as many test images as given.
"""
import statistics
from functools import partial

import torch
from fastcore.script import call_parse
from shared import RESULTS, describe, seconds_of, table, write_result

from s8lib.compute import Compute, seed_everything
from s8lib.dynamics import DynamicsRecorder
from s8lib.models.resnet import resnet18
from s8lib.options import Options
from s8lib.order import EpochBatches
from s8lib.predictions import Predictions
from s8lib.training import Tally, make_trainer


class Batches:
    "What a recorder asks of a loader, without images."
    def __init__(self, num_images, batch_size): self.batches = EpochBatches(num_images, batch_size)


def measure(width, batch_size, num_images, steps, device):
    "Median seconds of a step and of its record, and the recorder."
    seed_everything(0)
    compute = Compute(torch.device(device))
    trainer = make_trainer(resnet18(width=width), Options(), compute, steps + 1)
    recorder = DynamicsRecorder(trainer, Batches(num_images, batch_size))
    recorder.epoch_started(1)
    sizes = recorder.batches.sizes
    seconds = []
    for size in sizes[:steps + 1]:
        x = torch.randn(size, 3, 32, 32, device=device)
        y = torch.randint(10, (size,), device=device)
        step = seconds_of(partial(trainer.step, x, y), device)
        seconds.append((step, seconds_of(partial(recorder.between_steps, Tally()), device)))
    return *map(statistics.median, zip(*seconds[1:])), recorder  # the first step warms up


def bytes_of_epoch(recorder, tested):
    "Bytes that an epoch adds to the dynamics."
    answers = Predictions.of(torch.zeros(tested, 10), torch.zeros(tested, dtype=torch.int64))
    recorder.epoch({}, dict(test=answers))
    dynamics = recorder.dynamics
    return sum(values.nbytes for values in (dynamics.margins, dynamics.predicted, *dynamics.tests.values()))


@call_parse
def main(
    widths: str = '16,64',  # channels of the stem, with a comma between them
    batch_size: int = 500,  # images in a step
    num_images: int = 50_000,  # in the training set
    tested: int = 10_000,  # images tested after an epoch
    steps: int = 10,  # that are timed, after a first one
    device: str = 'cpu',
    name: str = 'dynamics',  # of the result files
    out: str = RESULTS,  # folder of the result files
):
    "Measure the memory of each image."
    rows = []
    for width in map(int, widths.split(',')):
        step, record, recorder = measure(width, batch_size, num_images, steps, device)
        rows.append({'width': str(width), 'step, s': step, 'record, s': record,
                     'share, %': 100 * record / step, 'bytes an epoch': bytes_of_epoch(recorder, tested)})
    setting = dict(batch_size=batch_size, num_images=num_images, tested=tested, steps=steps,
                   threads=torch.get_num_threads(), machine=describe(device))
    machine = setting['machine']
    text = (f'ResNet-18, batches of {batch_size} of {num_images:,} images, {tested:,} tested; median of '
            f'{steps} steps, {setting["threads"]} threads; {machine["processor"]}, torch {machine["torch"]}.')
    print(write_result(name, dict(setting=setting, rows=rows), [text, table(rows)], out))
