"""Whose mistake is it: suspected labels and verdicts against the truth, beside the peers.

    OMP_NUM_THREADS=1 python benchmarks/verdicts.py CIFAR train.csv.xz --people test.csv.xz --folds 5

It trains on the labels of a column of the truth, and those that differ from the classes of the folders are
to be found; `--folds 5` also trains the five networks that cleanlab wants. `--people` holds the verdicts on
test images against what people said of them. Every training is kept in the cache, so that a command that was
cut off goes on. Verdicts on drawn images: `planted_verdicts.py`.
"""
import csv
import lzma
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from fastcore.script import call_parse
from safetensors.torch import load_file, save_file
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from shared import RESULTS, describe, interval, seconds_of, table, words, write_result

from s8lib.batches import make_train_loader
from s8lib.compute import PRECISIONS, Compute, seed_everything
from s8lib.data import ImageSet
from s8lib.dynamics import Dynamics, DynamicsRecorder, average_margins, forgetting, label_margins
from s8lib.fitting import fit
from s8lib.neighbours import nearest, votes
from s8lib.options import Options, load_splits, make_model
from s8lib.predictions import all_logits
from s8lib.training import make_trainer
from s8lib.verdicts import judge, label_shift, reference_of, signs_of, suspect_labels
from s8lib.views import view_logits


def best_f1(truth: np.ndarray, scores: np.ndarray) -> float:
    "The largest F1 of any cut of the ranking."
    hits = np.cumsum(truth[np.argsort(-scores, kind='stable')])
    return float((2 * hits / (np.arange(1, len(truth) + 1) + truth.sum())).max())


def noisy(train_set: ImageSet, truth: Path, column: str) -> ImageSet:
    "The images with the labels of a column."
    with lzma.open(truth, 'rt') as file: labels = {row['file']: row[column] for row in csv.DictReader(file)}
    given = [train_set.classes.index(labels[name]) for name in train_set.names]
    return replace(train_set, labels=np.array(given))


def trained(path: Path, train_set: ImageSet, test_set: ImageSet, options: Options) -> tuple:
    "Network, dynamics and seconds of a training that is kept in a file."
    model = make_model(options, train_set)
    if not path.is_file():
        loader = make_train_loader(train_set, options)
        seed_everything(options.seed)
        compute = Compute(dtype=PRECISIONS[options.precision])
        trainer = make_trainer(model, options, compute, options.epochs * len(loader))
        recorder = DynamicsRecorder(trainer, loader)
        tests = dict(test=test_set)
        seconds = seconds_of(lambda: fit(trainer, loader, tests, options.epochs, [recorder]))
        tensors = {f'model.{name}': value.contiguous() for name, value in model.state_dict().items()}
        dynamics = recorder.dynamics
        tensors |= dict(margins=dynamics.margins, predicted=dynamics.predicted, tests=dynamics.tests['test'],
                        seconds=torch.tensor(seconds))
        save_file(tensors, path.with_suffix('.part'))
        path.with_suffix('.part').rename(path)
    tensors = load_file(path)
    model.load_state_dict({name.removeprefix('model.'): value for name, value in tensors.items()
                           if name.startswith('model.')})
    dynamics = Dynamics(tensors['margins'], tensors['predicted'], dict(test=tensors['tests']))
    return model.eval(), dynamics, tensors['seconds'].item()


def own_scores(model, train_set, dynamics):
    "What one run says of each label: suspicions by name, what is named, and the seconds after the training."
    kept = {}
    def judged():
        kept['reference'] = reference_of(model, train_set, dynamics)
        kept['free'] = suspect_labels(kept['reference'])
    seconds = seconds_of(judged)
    looks = view_logits(model, train_set)
    by_looks = suspect_labels(kept['reference'], looks)
    embedding = kept['reference'].embedding
    labels = embedding.labels
    near = nearest(embedding.features, embedding.features, 20, without=torch.arange(len(labels)))
    shares = votes(near, labels, len(train_set.classes))
    probabilities = embedding.logits.softmax(1).gather(1, labels[:, None])[:, 0]
    scores = {
        's8lib': kept['free'].probabilities[:, 0],
        's8lib, six looks': by_looks.probabilities[:, 0],
        'AUM (Pleiss et al.)': -average_margins(dynamics), 'forgetting events': forgetting(dynamics).float(),
        'loss at the end': -probabilities.log(), 'confidence': 1 - embedding.logits.softmax(1).amax(1),
        'margin at the end': -label_margins(embedding.logits, labels),
        '20 nearest neighbours': -shares.gather(1, labels[:, None])[:, 0]}
    proposals = {'s8lib': kept['free'].proposed, 's8lib, six looks': by_looks.proposed}
    return {name: values.numpy() for name, values in scores.items()}, proposals, seconds


def fold_probabilities(cache, train_set, test_set, options, folds):
    "Probabilities of images by networks that have not seen them, and the seconds of their trainings."
    generator = np.random.default_rng(options.seed)
    fold = np.empty(len(train_set), int)
    for label in range(len(train_set.classes)):
        places = np.flatnonzero(train_set.labels == label)
        fold[places] = generator.permutation(len(places)) % folds
    probabilities = np.empty((len(train_set), len(train_set.classes)))
    total = 0.
    for number in range(folds):
        path = cache.with_name(f'{cache.stem}-fold-{number}.safetensors')
        part = train_set.subset(np.flatnonzero(fold != number))
        model, _, seconds = trained(path, part, test_set, options)
        held = np.flatnonzero(fold == number)
        probabilities[held] = all_logits(model, train_set.subset(held)).softmax(1).numpy()
        total += seconds
    return probabilities, total


def cleanlab_scores(labels, probabilities, kind):
    "Suspicions and named labels by cleanlab."
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
    scores = -get_label_quality_scores(labels, probabilities, method='normalized_margin')
    return {f'cleanlab, {kind}': (scores, find_label_issues(labels, probabilities))}


def row_of(name, scores, named, truth, seconds, proposed=None, true=None):
    "One line of the table of labels."
    row = {'method': name, 'AUROC': f'{roc_auc_score(truth, scores):.4f}',
           '95%': interval(roc_auc_score, truth, scores),
           'average precision': f'{average_precision_score(truth, scores):.4f}',
           'best F1': f'{best_f1(truth, scores):.4f}'}
    if named is not None:
        row |= {'F1 of what is named': f'{f1_score(truth, named):.4f}', 'named': f'{named.sum():,}'}
    if proposed is not None:
        row |= {'right proposals': f'{(proposed.numpy() == true)[truth & named].mean():.3f}'}
    return row | {'seconds': seconds}


def labels_of_seed(folder, truth, column, cache, options, folds, people):
    "The rows of one seed: of the training labels and, where people were asked, of the test mistakes."
    train_set, _, test_set = load_splits(options)
    options = options.filled(train_set.image_size)
    given = noisy(train_set, Path(truth), column)
    wrong = given.labels != train_set.labels
    name = f'{column}-width-{options.width}-epochs-{options.epochs}-{options.precision}-seed-{options.seed}'
    cache = Path(cache) / f'{name}.safetensors'
    model, dynamics, seconds = trained(cache, given, test_set, options)
    accuracy = (dynamics.tests['test'][-1].argmax(1).numpy() == test_set.labels).mean()
    scores, proposals, after = own_scores(model, given, dynamics)
    rows = []
    for name, values in scores.items():
        named = values > .5 if name in proposals else None
        proposed = proposals.get(name)
        rows.append(row_of(name, values, named, wrong, seconds + after * (name == 's8lib'), proposed,
                           train_set.labels))
    inside = all_logits(model, given).softmax(1).double().numpy()
    peers = {name: (*parts, seconds) for name, parts in
             cleanlab_scores(given.labels, inside, 'in sample').items()}
    if folds:
        outside, total = fold_probabilities(cache, given, test_set, options, folds)
        peers |= {name: (*parts, total) for name, parts in
                  cleanlab_scores(given.labels, outside, f'{folds} folds').items()}
    rows += [row_of(name, values, named, wrong, spent) for name, (values, named, spent) in peers.items()]
    rows = [dict(seed=options.seed) | row for row in rows]
    return rows, people_rows(model, given, test_set, dynamics, people) if people else [], accuracy


def scores_of(setting, folder, truth, cache, folds, people):
    "Wrong training labels of CIFAR-10N: lines of the page, and rows."
    Path(cache).mkdir(parents=True, exist_ok=True)
    rows = []
    answers = []
    lines = []
    for seed in setting['seeds']:
        options = Options('folder', data_dir=folder, width=setting['width'], epochs=setting['epochs'],
                          seed=seed, device='cpu', precision=setting['precision'], progress=False)
        part, more, accuracy = labels_of_seed(folder, truth, setting['column'], cache, options, folds, people)
        rows += part
        answers += [dict(seed=seed) | row for row in more]
        lines.append(f'Seed {seed}: test accuracy {accuracy:.2%}.')
        print(table(part), flush=True)
    pages = [' '.join(lines), table(rows)]
    return pages + [table(answers)] * bool(answers), rows + answers


def people_of(image_set: ImageSet, path: str) -> np.ndarray:
    "How many people chose each class (N, C); NaN where nobody was asked."
    with lzma.open(path, 'rt') as file: rows = {row['file']: row for row in csv.DictReader(file)}
    names = [f'people_{name}' for name in image_set.classes]
    nobody = dict.fromkeys(names, 'nan')
    return np.array([[float(rows.get(file, nobody)[name]) for name in names] for file in image_set.names])


def learned_from_people(signs, truth):
    "What is in the signs: probabilities by a classifier that has seen the answers to all other images."
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    values = np.stack([each.numpy() for each in signs.values.values()], 1)
    learner = make_pipeline(StandardScaler(), LogisticRegression(C=.05, max_iter=3000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return cross_val_predict(learner, values, truth, cv=folds, method='predict_proba')[:, 1]


def people_row(work, score, is_it, values):
    "How well a score tells the images that are it from the others."
    return dict(work=work, score=score, positive=f'{is_it.sum():,}', images=f'{len(is_it):,}',
                AUROC=f'{roc_auc_score(is_it, values):.4f}') | {'95%': interval(roc_auc_score, is_it, values)}


def people_rows(model, train_set, test_set, dynamics, path):
    "How well the verdicts tell which test labels people are against, and which mistakes are doubtful."
    people = people_of(test_set, path)
    asked = np.flatnonzero(np.isfinite(people[:, 0]))
    people = people[asked]
    labels = test_set.labels[asked]
    agree = people[np.arange(len(asked)), labels] / people.sum(1)
    reference = reference_of(model, train_set, dynamics)
    signs = signs_of(model, test_set, torch.from_numpy(asked), reference)
    logits = dynamics.tests['test'][-1].float()
    every = torch.as_tensor(test_set.labels)
    mistakes = signs_of(model, test_set, (logits.argmax(1) != every).nonzero()[:, 0], reference)
    shift = label_shift(mistakes, logits, every)
    label, image, _ = judge(signs, shift).probabilities.T.numpy()
    margin = signs.values['margin'].numpy()
    doubt = signs.values['doubt'].numpy()
    is_mistake = logits.argmax(1).numpy()[asked] != labels
    is_told = is_mistake & ((agree < .8) | (agree >= .9))
    works = {'label against the majority': (slice(None), people.argmax(1) != labels),
             'doubtful mistake against a clear one': (is_told, agree < .8)}
    scores = {'p_label': label, 'p_image': image, 'p_label + p_image': label + image, '-margin': -margin,
              'entropy': doubt}
    rows = [people_row(work, name, is_it[some], values[some])
            for work, (some, is_it) in works.items() for name, values in scores.items()]
    told = replace(signs, values={name: values[is_told] for name, values in signs.values.items()})
    ceiling = learned_from_people(told, agree[is_told] < .8)
    return [*rows, people_row([*works][1], 'learned from the people', agree[is_told] < .8, ceiling)]


@call_parse
def main(
    folder: str,  # CIFAR-10 as image files
    truth: str,  # CSV file (.xz) with `file` and columns of labels
    people: str = None,  # CSV file (.xz) with `file` and `people_CLASS`, of test images
    column: str = 'aggregate',  # which labels are trained on
    cache: str = 'verdicts',  # where trainings are kept
    width: int = 16,  # of the network
    epochs: int = 20,  # of each training
    precision: str = 'bfloat16',  # of each training
    seeds: str = '0,1,2',  # with a comma between them
    folds: int = 0,  # 5 also trains what cleanlab wants
    out: str = RESULTS,  # folder of the result files
):
    "Score suspected labels and verdicts on real images."
    setting = dict(column=column, width=width, epochs=epochs, precision=precision, folds=folds,
                   seeds=[int(seed) for seed in seeds.split(',')], machine=describe('cpu', 'cleanlab'))
    page, rows = scores_of(setting, folder, truth, cache, folds, people)
    print(write_result(f'verdicts-{column}-width-{width}', dict(setting=setting, rows=rows),
                       [words(setting), *page], out))
