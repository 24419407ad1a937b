"""Measure what becomes of images that fill no whole batch: a small step of their own, left out, or spread.

    OMP_NUM_THREADS=1 python benchmarks/last_batch.py

A narrow network learns the drawn shapes in batches of 32, from sets whose number of images leaves a
remainder. 'a small step' makes of the remainder a batch of its own, as most loaders do; 'left out' takes
whole batches only, the keyed order leaves out others in each epoch; 'spread' takes as many batches as
the small step would, of equal sizes, and 'spread over the nearest number' as many as come nearest to the
size asked for. The accuracy is that of the last epoch, on 500 test images, which choose nothing.
"""
from itertools import product
from statistics import mean

from fastcore.script import call_parse
from shared import RESULTS, begun_result, describe, table, write_result

from s8lib.batches import make_train_loader
from s8lib.compute import Compute, seed_everything
from s8lib.data import channel_stats
from s8lib.fitting import fit
from s8lib.options import Options, make_model
from s8lib.order import EpochBatches
from s8lib.shapes import shapes
from s8lib.training import make_trainer


def small_step(images, batch):
    "Sizes of an epoch's batches where the remainder is a batch of its own."
    return [min(batch, images - start) for start in range(0, images, batch)]


def left_out(images, batch): return [batch] * (images // batch)


def spread(images, batch):
    "Sizes of an epoch's batches that differ by one image at most."
    return evened(images, -(-images // batch))


def spread_nearest(images, batch): return evened(images, max(1, round(images / batch)))


def evened(images, number):
    return [images // number + (place < images % number) for place in range(number)]


RULES = {'a small step': small_step, 'left out': left_out, 'spread': spread,
         'spread over the nearest number': spread_nearest}


class RuledBatches(EpochBatches):
    "An epoch's batches by one of the rules."
    def __init__(self, num_images, batch_size, seed, rule):
        self.rule = RULES[rule]
        super().__init__(num_images, batch_size, seed)

    @property
    def sizes(self): return self.rule(self.num_images, self.batch_size)


def accuracy(options, rule, train_set, test_set):
    "Train, and test at the end."
    loader = make_train_loader(train_set, options)
    loader.batches = RuledBatches(len(train_set), options.batch_size, options.seed, rule)
    seed_everything(options.seed)
    total_steps = options.epochs * len(loader)
    trainer = make_trainer(make_model(options, train_set), options, Compute(), total_steps)
    fit(trainer, loader, {}, options.epochs)
    return trainer.test(test_set).accuracy


def page(setting, runs):
    "A row for each recipe, remainder and rule."
    keys = dict.fromkeys((run['recipe'], run['remainder'], run['rule']) for run in runs)
    rows = []
    for recipe, remainder, rule in sorted(keys, key=lambda key: (key[0], key[1], list(RULES).index(key[2]))):
        values = [run['accuracy'] for run in runs
                  if (run['recipe'], run['remainder'], run['rule']) == (recipe, remainder, rule)]
        rows.append({'recipe': recipe, 'images': f'{setting["whole"]} + {remainder}', 'remainder': rule,
                     'accuracy, mean': f'{mean(values):.3f}', 'worst': f'{min(values):.3f}',
                     'seeds': str(len(values))})
    machine = setting['machine']
    return [f'ResNet-18 of width {setting["width"]}, drawn shapes, {setting["epochs"]} epochs in batches of '
            f'{setting["batch_size"]}; accuracy on 500 test images; {machine["processor"]}, '
            f'torch {machine["torch"]}.', table(rows)]


@call_parse
def main(
    whole: int = 320,  # training images that fill batches; the remainder comes on top
    remainders: str = '1,4',  # with a comma between them
    recipes: str = 'assignment,muon',  # with a comma between them
    width: int = 8,  # channels of the stem
    epochs: int = 12,  # of each run
    batch_size: int = 32,  # images in a batch
    seeds: int = 8,  # runs of each row
    rules: str = ','.join(RULES),  # with a comma between them
    name: str = 'last-batch',  # of the result files
    out: str = RESULTS,  # folder of the result files
):
    "Measure three rules for the images that fill no whole batch."
    setting = dict(whole=whole, width=width, epochs=epochs, batch_size=batch_size, machine=describe('cpu'))
    result = begun_result(name, setting, out)
    test_set = shapes('test', 500)
    for remainder in map(int, remainders.split(',')):
        train_set = shapes('train', whole + remainder)
        train_set = train_set.with_stats(channel_stats(train_set))
        kinds = rules.split(',') if remainder else ['a small step']
        for recipe, seed, rule in product(recipes.split(','), range(seeds), kinds):
            run = dict(recipe=recipe, remainder=remainder, rule=rule, seed=seed)
            if any(run.items() <= other.items() for other in result['runs']): continue
            rate = dict(assignment=.02, muon=.1)[recipe]
            options = Options('shapes', recipe=recipe, epochs=epochs, batch_size=batch_size, width=width,
                              learning_rate=rate, seed=seed).filled((32, 32))
            run['accuracy'] = accuracy(options, rule, train_set, test_set.with_stats(train_set.stats))
            print(f'{run["accuracy"]:.3f}  {recipe}, {whole} + {remainder}, {rule}, seed {seed}', flush=True)
            result['runs'].append(run)
            write_result(name, result, page(setting, result['runs']), out)
