"""What a suggestion of `lr_find` is worth: the accuracy of a short training with it, and with the default.

    OMP_NUM_THREADS=1 python benchmarks/learning_rate.py

Each optimizer trains a narrow network on the drawn shapes for a few epochs, under the one-cycle schedule.
"""
import warnings

import torch
from fastcore.script import call_parse
from shared import RESULTS, describe, table, write_result

from s8lib.batches import make_train_loader
from s8lib.compute import Compute, seed_everything
from s8lib.data import channel_stats
from s8lib.datasets import shapes
from s8lib.fitting import fit
from s8lib.listeners import lr_find
from s8lib.optimizers import LEARNING_RATES, MuonWarning
from s8lib.options import Options, make_model
from s8lib.training import make_trainer


def trained(train_set, options, epochs):
    "A trainer and its loader, before the first step."
    loader = make_train_loader(train_set, options)
    seed_everything(options.seed)
    steps = epochs * len(loader.sizes)
    return make_trainer(make_model(options, train_set), options, Compute(), steps), loader


@call_parse
def main(
    num_images: int = 1200,  # to train on
    epochs: int = 3,  # of each training
    width: int = 8,  # channels of the stem
    seeds: str = '0,1',  # with a comma between them
    name: str = 'learning-rate',  # of the result files
    out: str = RESULTS,  # folder of the result files
):
    "Train with suggested and with default rates."
    train_set = shapes('train', num_images)
    train_set = train_set.with_stats(channel_stats(train_set))
    tests = dict(test=shapes('test', 500).with_stats(train_set.stats))
    warnings.simplefilter('ignore', MuonWarning)
    rows = []
    for seed in map(int, seeds.split(',')):
        for optimizer in ('sgd', 'adam', 'muon'):
            asked = dict(optimizer=optimizer, schedule='one-cycle', batch_size=32, width=width, seed=seed)
            suggestion = lr_find(*trained(train_set, Options(**asked), epochs)).suggestion
            row = dict(optimizer=optimizer, seed=str(seed))
            for kind, rate in dict(suggested=suggestion, default=LEARNING_RATES[optimizer]).items():
                if rate is None: continue
                trainer, loader = trained(train_set, Options(**asked, learning_rate=rate), epochs)
                history = fit(trainer, loader, tests, epochs)
                row |= {f'{kind} rate': rate, f'accuracy, {kind}, %': 100 * history[-1]['test_accuracy']}
            rows.append(row)
            print(row, flush=True)
    setting = dict(num_images=num_images, epochs=epochs, width=width, threads=torch.get_num_threads(),
                   machine=describe('cpu'))
    machine = setting['machine']
    text = (f'ResNet-18 of width {width}, {num_images:,} drawn shapes, {epochs} epochs, batches of 32, '
            f'one-cycle; tested on 500; {machine["processor"]}, torch {machine["torch"]}.')
    print(write_result(name, dict(setting=setting, rows=rows), [text, table(rows)], out))
