"""What other ways to save work would bring to the recipe `fast`, each in about the same time.

    python benchmarks/shortcuts.py --data-dir FOLDER --data-name 'CIFAR-10, as JPEG'  # FOLDER/train/<class>/*
    python benchmarks/shortcuts.py --data-dir FOLDER --width 64 --seeds 3 --processes 4  # on a GPU

A row is the recipe with another option or other sizes of images, or with something that the library does not
do: it stops to train the first layers, averages weights or goes back to earlier ones, begins with other
weights, or counts less exactly. Its epochs are set by what they cost on a processor. The seconds of its
steps are told beside it, so nothing else may run; with several processes they are not told. The accuracy is
that of the last epoch, plain, on a tenth of the training images that is held out. Each finished run is kept
in the result file and not repeated.
"""
import time
from collections.abc import Callable
from functools import partial
from statistics import mean
from typing import NamedTuple

import torch
from fastcore.script import call_parse
from recipe import accuracy_cells, load_images
from shared import RESULTS, begun_result, describe, done_by, table, words, write_result
from torch import nn

from s8lib import optimizers
from s8lib.batches import make_train_loader
from s8lib.compute import pick_compute, seed_everything
from s8lib.data import stratified_split
from s8lib.fitting import Listener, fit
from s8lib.listeners import AveragedWeights
from s8lib.options import Options, make_model
from s8lib.skipping import skipping_of
from s8lib.training import Trainer, make_trainer

class Freezing(Listener):
    "The stem and the first stage stay as they are from an epoch on."
    def __init__(self, trainer, first):
        self.trainer = trainer
        self.first = first

    def epoch_started(self, number):
        if number != self.first: return
        early = nn.ModuleList([self.trainer.model.stem, self.trainer.model.features[0]])
        early.requires_grad_(False)
        for weight in early.parameters(): weight.grad = None
        self.trainer.frozen += [*early.modules()]


class Lookahead(Listener):
    """Each five steps the weights go back a part of the way (Zhang et al. 2019).

    The parts are airbench's, which looks back at BatchNorm's statistics too, and ends at the slow weights.
    """
    def __init__(self, trainer, steps):
        self.steps = steps
        self.done = 0
        self.weights = [weight.detach() for weight in trainer.model.parameters()]
        self.slow = [weight.clone() for weight in self.weights]

    def between_steps(self, tally):
        self.done += 1
        if self.done % 5: return
        torch._foreach_lerp_(self.slow, self.weights, 1 - .95**5 * (self.done / self.steps)**3)
        torch._foreach_copy_(self.weights, self.slow)


class FewerIterations(Listener):
    "Muon's matrices are made orthogonal in three iterations instead of five."
    def start(self, plan): optimizers.NEWTON_SCHULZ_STEPS = 3

    def finish(self): optimizers.NEWTON_SCHULZ_STEPS = 5


def modules_of(trainer, kind):
    return [module for module in trainer.model.modules() if isinstance(module, kind)]


@torch.no_grad()
def whitening(trainer, loader, epochs):
    "The first convolution begins with the whitening filters of a batch's patches, and their negatives."
    x, _ = next(iter(loader))
    weight = modules_of(trainer, nn.Conv2d)[0].weight
    patches = nn.functional.unfold(x, weight.shape[2:]).transpose(1, 2).flatten(0, 1)
    values, vectors = torch.linalg.eigh(patches.T.cov())
    filters = (vectors / (values + 5e-4).sqrt()).T.flip(0)[:len(weight) // 2]  # the largest first
    filters = torch.cat([filters, -filters])
    weight[:len(filters)] = filters.view(-1, *weight.shape[1:])


def identities(trainer, loader, epochs):
    "Each convolution begins by handing its channels on, as far as it has filters for them."
    for layer in modules_of(trainer, nn.Conv2d): nn.init.dirac_(layer.weight[:layer.in_channels])


def quick_biases(trainer, loader, epochs, factor):
    "The biases of BatchNorm learn so many times as fast."
    def grow(bias): bias.grad *= factor
    for layer in modules_of(trainer, nn.BatchNorm2d): layer.bias.register_post_accumulate_grad_hook(grow)


def looking_ahead(trainer, loader, epochs): return Lookahead(trainer, loader.batches.total_steps(epochs))


def iterating(trainer, loader, epochs): return FewerIterations()


def freezing(trainer, loader, epochs): return Freezing(trainer, epochs - 1)


def averaging(trainer, loader, epochs): return AveragedWeights(trainer)


class Row(NamedTuple):
    "What is trained; the epochs are set by what they cost."
    what: str
    epochs: int
    resizing: str
    shortcut: Callable = lambda *_: None  # (trainer, loader, epochs) -> a listener or None
    options: dict = {}  # that differ from the recipe


HALF = 10, '5x16,3x24'
ROWS = dict(
    fast=Row('`fast`: a half at 16 pixels, a quarter at 24', *HALF),
    everything=Row('all images shown', 8, '4x16,2x24', options=dict(skip_easy=0.)),
    slow=Row('a peak rate of 0.05', *HALF, options=dict(learning_rate=.05)),
    quick=Row('a peak rate of 0.2', *HALF, options=dict(learning_rate=.2)),
    large=Row('batches of 1% of the images', *HALF, options=dict(batch_size=450)),
    hole=Row('CutOut of 8', *HALF, options=dict(cutout=8)),
    smooth=Row('no label smoothing', *HALF, options=dict(label_smoothing=0.)),
    flip=Row('a flip at random', *HALF, options=dict(flip='random')),
    sgd=Row('Nesterov SGD to a rate of 0.1', *HALF, options=dict(optimizer='sgd', learning_rate=.1)),
    whole=Row('whole images only', 6, 'none'),
    middle=Row('two thirds at 24 pixels', 8, '5x24'),
    late=Row('fewer small ones', 9, '3x16,3x24'),
    small=Row('more small ones', 11, '8x16,1x24'),
    freeze=Row('stem and first stage frozen in the last two epochs', *HALF, freezing),
    coarse=Row("three of Muon's iterations instead of five", *HALF, iterating),
    bias4=Row('biases of BatchNorm at four times the rate', *HALF, partial(quick_biases, factor=4)),
    bias16=Row('biases of BatchNorm at 16 times the rate', *HALF, partial(quick_biases, factor=16)),
    ahead=Row('lookahead', *HALF, looking_ahead),
    dirac=Row('convolutions that begin as identities', *HALF, identities),
    average=Row('weights averaged in the last epoch', *HALF, averaging),
    whiten=Row('a first convolution that whitens', *HALF, whitening))


def split_images(data_dir, num_images):
    "The images that are trained on, and those that are held out of them."
    return stratified_split(load_images(data_dir, num_images, valid=False)[0], .1)


def trained(name, width, seed, images):
    "What came of a row."
    row = ROWS[name]
    train_set, test_set = split_images(*images)
    options = dict(recipe='fast', width=width, seed=seed, epochs=row.epochs, resizing=row.resizing)
    options = Options(**options | row.options).filled(train_set.image_size)
    compute = pick_compute(options.device, options.precision)
    seed_everything(options.seed)
    loader = make_train_loader(train_set, options, compute)
    steps = loader.batches.total_steps(row.epochs)
    trainer = make_trainer(make_model(options, train_set), options, compute, steps)
    listener = row.shortcut(trainer, loader, row.epochs)
    start = time.perf_counter()
    fit(trainer, loader, {}, row.epochs, skipping_of(trainer, loader) + [listener] * bool(listener))
    seconds = round(time.perf_counter() - start)
    if isinstance(listener, AveragedWeights):
        trainer = Trainer(listener.network(loader), trainer.optimizer, compute=compute)
    accuracy = trainer.test(test_set).accuracy
    return dict(name=name, seed=seed, accuracy=accuracy, seconds=seconds, steps=steps)


def rows_of(runs):
    "A row of the page for each row that was run."
    rows = []
    for name, row in ROWS.items():
        own = [run for run in runs if run['name'] == name]
        if not own: continue
        is_timed = all('seconds' in run for run in own)
        times = {'seconds, mean': mean(run['seconds'] for run in own)} if is_timed else {}
        rows.append({'recipe': row.what, 'epochs': str(row.epochs), 'smaller first': row.resizing} | times
                    | accuracy_cells([run['accuracy'] for run in own]))
    return rows


@call_parse
def main(
    data_dir: str = None,  # holds {train,test}/<class>/*; by default the drawn shapes
    data_name: str = None,  # what to call these data in the result
    rows: str = ','.join(ROWS),  # of these
    width: int = 16,  # channels of the stem; 64 is the published network
    num_images: int = 0,  # of the training images; 0 for all
    seeds: int = 1,  # runs of each row
    processes: int = 1,  # runs at the same time
    name: str = None,  # of the result files; by default shortcuts-width-N
    out: str = RESULTS,  # folder of the result files
):
    "Measure what other ways to save work would bring."
    name = name or f'shortcuts-width-{width}'
    images = data_dir, num_images
    train_set, test_set = split_images(*images)
    setting = dict(data=data_name or ('images of a folder' if data_dir else 'shapes'), width=width,
                   train_images=len(train_set), tested_on=f'{len(test_set):,} held-out training images')
    setting['machine'] = describe(pick_compute().device)
    result = begun_result(name, setting, out)
    made = {(run['name'], run['seed']) for run in result['runs']}
    jobs = [(row, width, seed, images) for seed in range(seeds) for row in rows.split(',')
            if (row, seed) not in made]
    for run in done_by(processes, trained, jobs):
        if processes > 1: del run['seconds']
        print(words(run), flush=True)
        result['runs'].append(run)
        write_result(name, result, [words(result['setting']), table(rows_of(result['runs']))], out)
