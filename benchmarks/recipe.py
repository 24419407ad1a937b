"""Measure what each part of the training recipe is worth, one after the other, each with several seeds.

    python benchmarks/recipe.py --data-dir FOLDER                             # FOLDER/{train,test}/<class>/*
    python benchmarks/recipe.py --data-dir FOLDER --width 64 --num-images 0 --rows published --processes 4
    python benchmarks/recipe.py --data-dir FOLDER --width 16 --num-images 2000 --rows few --valid \\
        --seeds 2 --name recipe-few

The second command is for a GPU: the whole network, several runs at the same time.
By default a narrow network is trained on a part of the images. Each finished run is kept in the result file,
and a run that is there is not repeated, so the command can be stopped and started again. The accuracy is that
of the last epoch, on the test images, which choose nothing; with --valid, on as many images held out of the
training images.
"""
from collections import Counter
from functools import cache
from statistics import mean, stdev

import torch
from fastcore.script import call_parse
from scipy.stats import t as student
from shared import RESULTS, begun_result, describe, done_by, read_result, write_result
from torch.utils.flop_counter import FlopCounterMode

from s8lib.batches import make_train_loader
from s8lib.compute import pick_compute, seed_everything
from s8lib.data import stratified_split
from s8lib.datasets import load_dataset
from s8lib.fitting import fit
from s8lib.options import RECIPES, Options, make_model
from s8lib.order import shown_shares
from s8lib.predictions import MirrorAveraged
from s8lib.resizing import sides_of_epochs
from s8lib.skipping import skipping_of
from s8lib.training import Trainer, make_trainer

PLAIN = dict(recipe='assignment', optimizer='sgd', learning_rate=.01, schedule='constant')
SMOOTH = PLAIN | dict(learning_rate=.05, schedule='one-cycle', label_smoothing=.1)
MUON = {name: value for name, value in RECIPES['muon'].items() if name not in ('epochs', 'batch_size')}
LARGE = MUON | dict(cutout=16)
# KellerJordan/cifar10-zoo, train_resnet18_94.py: 26 epochs, batch 500
PEER = dict(optimizer='sgd', learning_rate=.2, weight_decay=5e-4, schedule='triangle', label_smoothing=0.,
            padding=4, padding_mode='reflect', flip='random', cutout=12, cutout_kind='inside',
            epochs=26, batch_size=500)
# for some four passes over the images, in which nothing is learned by heart
SMALLER = MUON | dict(batch_size=250)
ROWS = dict(
    ladder={
        'Nesterov SGD, rate 0.01': PLAIN,
        'Adam, rate 0.001': PLAIN | dict(optimizer='adam', learning_rate=.001),
        'Nesterov SGD, one-cycle to 0.05, smoothing 0.1': SMOOTH,
        '… and the alternating flip': SMOOTH | dict(flip='alternating'),
        '… and Muon, triangle to 0.1': LARGE,
        '… and CutOut of 8 instead of 16: the recipe': MUON},
    without={
        'Muon with CutOut of 16, without label smoothing': LARGE | dict(label_smoothing=0.),
        'Muon with CutOut of 16, a flip at random': LARGE | dict(flip='random'),
        'Muon with CutOut of 16, one-cycle': LARGE | dict(schedule='one-cycle'),
        'Muon with CutOut of 12, inside': LARGE | dict(cutout=12, cutout_kind='inside'),
        'Muon without CutOut': LARGE | dict(cutout=0),
        'the recipe with reflected padding': MUON | dict(padding_mode='reflect')},
    short={
        'the recipe in batches of 500': MUON | dict(batch_size=500),
        'the recipe in batches of 250': SMALLER,
        '… without CutOut': SMALLER | dict(cutout=0),
        '… without CutOut, and a padding of 2': SMALLER | dict(cutout=0, padding=2)},
    # of 500 and of 2,000 images; a hundredth of them would make batches of 5 and of 20
    few={f'`muon` in batches of {size}': MUON | dict(batch_size=size) for size in (16, 32, 64)},
    peer={'the 26-epoch recipe': PEER},
    # of the whole network; each with its own epochs
    published={
        '`fast`, 24 epochs, batches of 250': dict(recipe='fast', epochs=24, batch_size=None),
        '`muon`, 20 epochs, batches of 500': dict(recipe='muon', epochs=20, batch_size=None),
        'the 26-epoch recipe, batches of 500': PEER},
    longer={'`muon`, 40 epochs': dict(recipe='muon', epochs=40, batch_size=None)},
    # for few images, where batches of 500 leave the recipe too few steps
    peer64={'the 26-epoch recipe in batches of 64, rate 0.05': PEER | dict(learning_rate=.05, batch_size=64)})


@cache
def load_images(data_dir, num_images, valid, labels=None):
    "The images that are trained on, and those that are tested."
    train_set, _, test_set = load_dataset('folder' if data_dir else 'shapes', data_dir, labels=labels)
    if valid: train_set, test_set = stratified_split(train_set, .5, 0)
    if 0 < num_images < len(train_set):
        train_set = stratified_split(train_set, num_images / len(train_set), 0)[1]
    return train_set, test_set


def fitted(options, train_set, compute):
    "The trainer of a training without a test that is over."
    loader = make_train_loader(train_set, options, compute)
    seed_everything(options.seed)
    steps = loader.batches.total_steps(options.epochs)
    trainer = make_trainer(make_model(options, train_set), options, compute, steps)
    fit(trainer, loader, {}, options.epochs, skipping_of(trainer, loader))
    return trainer


def accuracies(options, train_set, test_set):
    "Train, and test at the end: plain, and averaged with the mirror images."
    compute = pick_compute(options.device, options.precision)
    trainer = fitted(options, train_set, compute)
    mirrored = Trainer(MirrorAveraged(trainer.model), trainer.optimizer, compute=compute)
    return trainer.test(test_set).accuracy, mirrored.test(test_set).accuracy


def interval(values):
    "Half the width of the 95% interval of the mean (Student), as text."
    if len(values) < 2: return '–'
    return f'± {student.ppf(.975, len(values) - 1) * stdev(values) / len(values)**.5:.2%}'


def accuracy_cells(values):
    "The cells of a row about the accuracies of several seeds."
    return {'seeds': str(len(values)), 'accuracy, mean': f'{mean(values):.2%}', '95%': interval(values),
            'each seed': ', '.join(f'{value:.2%}' for value in values)}


def page(setting, runs):
    "The runs as a table, a row for each recipe."
    machine = setting['machine']
    names = [name for rows in ROWS.values() for name in rows]
    runs = sorted(runs, key=lambda run: (names.index(run['name']), run['seed']))
    lines = [f"ResNet-18 of width {setting['width']}, {setting['data']}: "
             f"{setting['train_images']:,} training images, {setting['epochs']} epochs in batches of "
             f"{setting['batch_size']} where a row says no others; accuracy on {setting['tested_on']}; "
             f"{machine.get('gpu', machine['processor'])}, torch {machine['torch']}. "
             f"{setting.get('note', '')}", '',
             '| trained with | 10¹⁵ operations | accuracy, mean | 95% interval | each seed '
             '| averaged with the mirror image |', '|---|---|---|---|---|---|']
    for name in dict.fromkeys(run['name'] for run in runs):
        values = [run['accuracy'] for run in runs if run['name'] == name]
        mirrored = [run['mirror_averaged'] for run in runs if run['name'] == name]
        seeds = ', '.join(f'{value:.2%}' for value in values)
        work = next((f"{run['peta_operations']:.2f}" for run in runs
                     if run['name'] == name and 'peta_operations' in run), '')
        lines.append(f'| {name} | {work} | {mean(values):.2%} | {interval(values)} | {seeds} '
                     f'| {mean(mirrored):.2%} |')
    return '\n'.join(lines)


def operations(model, side):
    "Of forward and backward pass, for one image."
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(2, 3, side, side, device='meta')).sum().backward()
    return counter.get_total_flops() / 2


def peta_operations(options, train_set):
    "Of a whole training, without those of the optimizer."
    model = make_model(options, train_set).to('meta')
    epochs = Counter()  # by side of the images
    sides = sides_of_epochs(options.resizing, options.epochs, train_set.image_size)
    for side, share in zip(sides, shown_shares(options.skip_easy, options.epochs)): epochs[side] += share
    return len(train_set) * sum(number * operations(model, side) for side, number in epochs.items()) / 1e15


def measure(label, given, seed, images):
    "A run for the result file, of the recipe and the images that are said."
    train_set, test_set = load_images(*images)
    options = Options(**given, seed=seed).filled(train_set.image_size)
    accuracy, mirror_averaged = accuracies(options, train_set, test_set)
    return dict(name=label, seed=seed, accuracy=accuracy, mirror_averaged=mirror_averaged,
                peta_operations=round(peta_operations(options, train_set), 3))


@call_parse
def main(
    data_dir: str = None,  # holds {train,test}/<class>/*; by default the drawn shapes
    data_name: str = None,  # what to call these data in the result
    num_images: int = 10000,  # of the training images; 0 for all
    width: int = 8,  # channels of the stem; 64 is the published network
    epochs: int = 20,  # of each run
    batch_size: int = 64,  # images in a batch
    seeds: int = 3,  # runs of each row
    first_seed: int = 0,  # of them, so that several commands can share the work
    rows: str = 'ladder',  # names in `ROWS`; several with a comma between
    processes: int = 1,  # runs at the same time
    valid: bool = False,  # measure on as many images, held out of the training images
    note: str = None,  # what else a reader has to know
    name: str = None,  # of the result files; by default recipe-width-N
    out: str = RESULTS,  # folder of the result files
):
    "Measure what each part of the training recipe is worth."
    name = name or f'recipe-width-{width}'
    images = data_dir, num_images, valid
    train_set, test_set = load_images(*images)
    setting = dict(data=data_name or ('images of a folder' if data_dir else 'shapes'), width=width,
                   train_images=len(train_set), epochs=epochs, batch_size=batch_size,
                   tested_on=f'{len(test_set):,} {"held-out training" if valid else "test"} images',
                   machine=describe(pick_compute().device))
    if note: setting['note'] = note
    result = begun_result(name, setting, out)
    recipes = {label: given for group in rows.split(',') for label, given in ROWS[group].items()}
    made = {(run['name'], run['seed']) for run in result['runs']}
    defaults = dict(epochs=epochs, batch_size=batch_size, width=width)
    jobs = [(label, defaults | given, seed, images) for seed in range(first_seed, first_seed + seeds)
            for label, given in recipes.items() if (label, seed) not in made]
    for run in done_by(processes, measure, jobs):
        both = f"{run['accuracy']:7.2%}  {run['mirror_averaged']:7.2%}"
        print(f"{both}  seed {run['seed']}  {run['name']}", flush=True)
        result['runs'] = (read_result(name, out) or result)['runs'] + [run]
        write_result(name, result, page(setting, result['runs']), out)
