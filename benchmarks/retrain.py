"""Leave out the training images that are named for a mistake, train again, and see whether it turns.

    OMP_NUM_THREADS=1 python benchmarks/retrain.py --folder PATH   # <split>/<class>/<image>
    OMP_NUM_THREADS=1 python benchmarks/retrain.py                 # drawn images with planted causes

A narrow network learns a small subset of the training images, once for each of several seeds. The mistakes
that are tried again are chosen before anything is left out: all seeds call the image by the same wrong class,
their mean probability puts the true class second, and the margin between both is at least three times its
standard deviation over the seeds. Of these the ones are taken for which `influences`, from the network of
seed 0 alone, expects the least margin once its images are left out. Each costs a training without the images
that `influences` names and one without the nearest of the predicted class; the control leaves out random
images of the predicted class, as many, several times. A mistake has turned when the network of seed 0,
trained again from the start, gives the true class. Every training is written down at once, and a benchmark
that was stopped goes on.
"""
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from fastcore.script import call_parse
from shared import RESULTS, describe, read_result, table, words, write_result

from s8lib.batches import make_train_loader
from s8lib.compute import Compute, seed_everything
from s8lib.core import keyed_generator
from s8lib.data import channel_stats
from s8lib.fitting import fit
from s8lib.influence import influences
from s8lib.neighbours import embed, nearest
from s8lib.options import Options, make_model
from s8lib.planted import plant
from s8lib.predictions import all_logits
from s8lib.sources import image_set
from s8lib.training import make_trainer

STEADY = 3.  # standard deviations over the seeds
ARMS = {'named': 'the images that `influences` names', 'nearest': 'the nearest of the predicted class',
        'random': 'random ones of the predicted class', 'seed': 'nothing, another seed'}


def read_split(folder, split, per_class=None):
    "A few images of each class, or all."
    paths = []
    for label, place in enumerate(sorted((Path(folder) / split).iterdir())):
        files = sorted(place.iterdir())
        chosen = keyed_generator(0, label).permutation(len(files))[:per_class]
        paths += [files[number] for number in sorted(chosen)]
    return image_set(paths, [path.parent.name for path in paths], split=split)


def read_sets(folder, per_class):
    "Training images, a few of each class, and all test images."
    if folder is None:
        planted = plant(0, num_train=600, num_test=3000)
        return planted.train, planted.test
    train_set = read_split(folder, 'train', per_class)
    stats = channel_stats(train_set)
    return train_set.with_stats(stats), read_split(folder, 'test').with_stats(stats)


def learn(train_set, options, seed):
    "A network trained from the start."
    options = replace(options, seed=seed).filled(train_set.image_size)
    loader = make_train_loader(train_set, options, Compute())
    seed_everything(seed)
    model = make_model(options, train_set)
    trainer = make_trainer(model, options, Compute(), options.epochs * len(loader.sizes), train_set)
    fit(trainer, loader, {}, options.epochs)
    return model.eval()


def steady_mistakes(tests):
    "Places of the mistakes that all seeds make alike, and their pairs of predicted and true class."
    labels = tests[0].labels
    predicted = torch.stack([test.predicted for test in tests])
    second = torch.stack([test.logits.softmax(1) for test in tests]).mean(0).topk(2).indices[:, 1]
    alike = (predicted == predicted[0]).all(0) & (predicted[0] != labels) & (second == labels)
    pairs = torch.stack([predicted[0], labels], 1)
    values = torch.stack([test.logits.gather(1, pairs) for test in tests])
    margins = values[..., 0] - values[..., 1]
    places = (alike & (margins.mean(0) >= STEADY * margins.std(0))).nonzero().flatten()
    return places, pairs[places]


def choose_mistakes(train_set, test_set, options, seeds, num_mistakes, k):
    "A row for each mistake to try again, with the images to leave out, and what there was to choose from."
    models = [learn(train_set, options, seed) for seed in range(seeds)]
    tests = [embed(model, test_set) for model in models]
    train = embed(models[0], train_set)
    places, pairs = steady_mistakes(tests)
    taught = influences(train, tests[0][places], pairs, k)
    near = nearest(tests[0].features[places], train.features, k, (pairs[:, 0], train.labels))
    order = taught.without.argsort()[:num_mistakes]
    rows = [dict(place=places[i].item(), predicted=pairs[i, 0].item(), true=pairs[i, 1].item(),
                 margin=taught.margins[i].item(), without=taught.without[i].item(),
                 named=taught.places[i].tolist(), nearest=near.places[i].tolist()) for i in order.tolist()]
    facts = dict(accuracy=[(test.predicted == test.labels).float().mean().item() for test in tests],
                 mistakes=(tests[0].predicted != tests[0].labels).sum().item(), steady=len(places),
                 expected_to_turn=taught.turns.sum().item())
    return rows, facts


def planned(rows, train_set, draws, seeds, k):
    "What is left out in each training, by its key, with the seed and the mistakes it is asked about."
    plan = {}
    everything = range(len(rows))
    for draw in range(draws):
        for label in sorted({row['predicted'] for row in rows}):
            members = np.flatnonzero(train_set.labels == label)
            places = keyed_generator(1, label, draw).permutation(members)[:k]
            numbers = [number for number in everything if rows[number]['predicted'] == label]
            plan[f'random/{label}/{draw}'] = places.tolist(), 0, numbers
    for draw in range(draws): plan[f'seed/{seeds + draw}'] = [], seeds + draw, [*everything]
    single = {f'{arm}/{number}': (rows[number][arm], 0, [number])
              for arm in ('named', 'nearest') for number in everything}
    named = [item for item in single.items() if item[0].startswith('named')]
    random = [*plan.items()]
    mixed = [item for pair in zip(named, random) for item in pair]  # both arms grow side by side
    return dict(mixed) | dict(named) | plan | single


def answers_without(left_out, seed, rows, train_set, test_set, options):
    "The classes that a network gives to some mistakes, trained without some images."
    rest = np.setdiff1d(np.arange(len(train_set)), left_out)
    model = learn(train_set.subset(rest), options, seed)
    places = np.array([row['place'] for row in rows])
    return all_logits(model, test_set.subset(places)).argmax(1).tolist()


def interval(shares):
    "The middle 95% of the mean over mistakes that are drawn again."
    draws = keyed_generator(2).integers(len(shares), size=(10_000, len(shares)))
    return np.percentile(np.array(shares)[draws].mean(1), [2.5, 97.5]).tolist()


def summary(result):
    "A row of the table for each kind of training."
    rows = []
    for arm, words_of in ARMS.items():
        turned, moved = {}, {}
        for key, answers in result['answers'].items():
            if key.split('/')[0] != arm: continue
            for number, answer in answers.items():
                row = result['chosen'][int(number)]
                turned.setdefault(number, []).append(answer == row['true'])
                moved.setdefault(number, []).append(answer != row['predicted'])
        if not turned: continue
        shares = [np.mean(values) for values in turned.values()]
        low, high = interval(shares)
        rows.append({'left out': words_of, 'mistakes': len(shares), 'turned': np.mean(shares), 'from': low,
                     'to': high, 'no longer the wrong class': np.mean([np.mean(v) for v in moved.values()])})
    return rows


def write(name, result, out):
    facts = result['facts']
    page = ['# Leaving out what taught a mistake', words(result['setting']),
            f'{facts["mistakes"]:,} mistakes of seed 0, {facts["steady"]:,} of them steady, '
            f'{facts["expected_to_turn"]:,} expected to turn, {len(result["chosen"])} tried.',
            table(summary(result)), 'Intervals: bootstrap over the mistakes, 95%.']
    return write_result(name, result, page, out)


@call_parse
def main(
    folder: str = None,     # holds <split>/<class>/<image>; by default drawn images with planted causes
    per_class: int = 100,   # training images of each class of a folder
    num_mistakes: int = 50,  # to try again
    k: int = 20,            # images to leave out
    seeds: int = 5,         # trainings that choose the mistakes
    draws: int = 3,         # of random images of each class
    epochs: int = 12,       # of each training
    out: str = str(RESULTS),  # folder of the result
):
    "Measure how often a mistake turns when the images that taught it are left out."
    torch.set_num_threads(1)
    train_set, test_set = read_sets(folder, per_class)
    options = Options(recipe='muon', width=8, stem='medium', batch_size=50 if folder else 32, epochs=epochs,
                      cutout=0, padding=4 if folder else 2, flip='alternating' if folder else 'none',
                      compile='no', progress=False)
    name = 'retrain-folder' if folder else 'retrain-planted'
    setting = dict(train_images=len(train_set), test_images=len(test_set), k=k, seeds=seeds, draws=draws,
                   epochs=epochs, width=8)
    result = read_result(name, out)
    if result is None:
        rows, facts = choose_mistakes(train_set, test_set, options, seeds, num_mistakes, k)
        result = dict(setting=setting | dict(machine=describe('cpu')), facts=facts, chosen=rows, answers={})
        print(write(name, result, out), flush=True)
    elif not setting.items() <= result['setting'].items():
        raise SystemExit(f'{name} holds a measurement of another setting; take another --out')
    for key, (left_out, seed, numbers) in planned(result['chosen'], train_set, draws, seeds, k).items():
        if key in result['answers']: continue
        chosen = [result['chosen'][number] for number in numbers]
        answers = answers_without(left_out, seed, chosen, train_set, test_set, options)
        result['answers'][key] = dict(zip(map(str, numbers), answers))
        write(name, result, out)
    print(write(name, result, out))
