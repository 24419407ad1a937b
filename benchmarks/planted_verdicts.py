"""Verdicts and shortcuts on planted sets, whose truth is known, and the weights of the page `verdicts`.

    OMP_NUM_THREADS=1 python benchmarks/planted_verdicts.py --folder OUT  # of benchmarks/planted.py
    OMP_NUM_THREADS=1 python benchmarks/planted_verdicts.py --folder OUT --weights  # learn them

Weights are learned from other sets (seeds from 2000 on) than those on which verdicts are scored.
"""
from pathlib import Path

import numpy as np
import torch
from fastcore.script import call_parse
from planted import KINDS, macro_f1, mistakes_of, names_shortcut, read_trained
from shared import RESULTS, describe, interval, table, words, write_result

from s8lib.decisions import VERDICTS
from s8lib.neighbours import embed
from s8lib.slices import find_groups
from s8lib.verdicts import judge, label_shift, reference_of, signs_of


def trainings_in(folders):
    "The trainings of `benchmarks/planted.py`, each with the kind of its sets."
    for folder in folders.split(','):
        for path in sorted(Path(folder).glob('*.safetensors')):
            kind, seed = path.stem.split('-')
            yield read_trained(folder, int(seed), kind), kind


def planted_signs(folder):
    "The signs and shifts, the verdicts by truth and the causes of the mistakes in each training."
    parts = []
    for one, _ in trainings_in(folder):
        reference = reference_of(one.model, one.planted.train, one.dynamics)
        places = torch.from_numpy(mistakes_of(one))
        signs = signs_of(one.model, one.planted.test, places, reference, mirror=False)
        truth = one.planted.truth['test']
        predictions = one.predictions['test']
        signs = signs, label_shift(signs, predictions.logits, predictions.labels)
        parts.append((signs, truth.verdict[places], truth.cause[places]))
    return parts


def learned_weights(folder):
    "Weights for the page `verdicts`, as its code says them."
    from sklearn.linear_model import LogisticRegression
    parts = planted_signs(folder)
    parts = [(signs, *rest) for (signs, _), *rest in parts]
    names = list(parts[0][0].values)
    signs = np.concatenate([np.stack([part.values[name].numpy() for name in names], 1) for part, *_ in parts])
    verdicts = np.concatenate([verdict for _, verdict, _ in parts])
    mean = signs.mean(0)
    spread = signs.std(0)
    learned = LogisticRegression(max_iter=5000).fit((signs - mean) / spread, verdicts)
    lines = [f'{name}=Weight({mean[place]:.2f}, {spread[place]:.2f}, '
             f'({", ".join(f"{value:.2f}" for value in learned.coef_[:, place])})),'
             for place, name in enumerate(names)]
    prior = ', '.join(f'{value:.2f}' for value in learned.intercept_)
    return [f'{len(verdicts):,} mistakes of {len(parts)} trainings.',
            '\n'.join(['```python', f'PRIOR = {prior}', *lines, '```'])], []


def shortcuts_of(folder):
    "For each kind of planted set whether the shortcut is named, or falsely so, in the order of the files."
    named = {kind: [] for kind in KINDS}
    for one, kind in trainings_in(folder):
        predictions = one.predictions['test']
        embedding = embed(one.model, one.planted.test)
        groups = find_groups(one.model, one.planted.test, predictions, one.planted.train, embedding)
        named[kind].append(names_shortcut(groups, one.planted))
    return named


def scores_of(folder):
    "Verdicts on planted sets, and shortcuts: lines of the page, and rows."
    parts = planted_signs(folder)
    named = shortcuts_of(folder)
    first, falsely = (f'{sum(each)} of {len(each)}' for each in (named['shortcut'], named['clean']))
    told = [f'A shortcut is named first in {first} sets that have one, and any in {falsely} that have none.']
    truth = np.concatenate([verdict for _, verdict, _ in parts])
    causes = np.concatenate([cause for *_, cause in parts])
    verdicts = np.concatenate([judge(*signs).verdict.numpy() for signs, *_ in parts])
    spread = interval(macro_f1, truth, verdicts)
    rows = [{'cause': cause, 'mistakes': int((causes == cause).sum())}
            | {name: int(((causes == cause) & (verdicts == place)).sum())
               for place, name in enumerate(VERDICTS)}
            for cause in sorted({*causes})]
    score = f'{len(parts)} trainings, macro-F1 {macro_f1(truth, verdicts):.3f} (95% {spread}).'
    return [score, *told, table(rows)], rows


@call_parse
def main(
    folder: str = 'planted',  # trainings of benchmarks/planted.py; several with a comma between them
    weights: bool = False,  # learn weights, instead of a score
    name: str = None,  # of the result files
    out: str = RESULTS,  # folder of the result files
):
    "Score verdicts and shortcuts on planted sets, or learn the weights of verdicts from them."
    setting = dict(machine=describe('cpu', 'scikit-learn'))
    page, rows = learned_weights(folder) if weights else scores_of(folder)
    name = name or ('verdicts-weights' if weights else 'verdicts-planted')
    print(write_result(name, dict(setting=setting, rows=rows), [words(setting), *page], out))
