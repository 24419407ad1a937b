"""Train on sets whose mistakes have planted causes, and keep what is needed to judge a verdict.

    OMP_NUM_THREADS=1 python benchmarks/planted.py --sets 100 --folder planted

Each seed gives two pairs of sets, with a shortcut and without. Each training leaves a file in the folder with
the weights, the logits of both splits and the dynamics; a file that is there is not made again. The table
says how often a network of width 8 is wrong on the test images of each cause. `read_trained`, `macro_f1` and
`names_shortcut` are for whoever scores verdicts and groups against the truth.
"""
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from fastcore.script import call_parse
from safetensors.torch import load_file, save_file
from shared import RESULTS, describe, seconds_of, table, words, write_result

from s8lib.batches import make_train_loader
from s8lib.compute import Compute, seed_everything
from s8lib.decisions import VERDICTS
from s8lib.dynamics import Dynamics, DynamicsRecorder
from s8lib.fitting import fit
from s8lib.options import Options, make_model
from s8lib.planted import CAUSES, SPLITS, Planted, plant
from s8lib.predictions import Predictions
from s8lib.training import make_trainer

EPOCHS = 12
TEST_SHARE = 4  # training images for each test image
KINDS = dict(shortcut=True, clean=False)


def options_of(seed):
    "A short training without mirrored images: half of the rare poses would be shown by them."
    return Options('shapes', recipe='muon', epochs=EPOCHS, batch_size=32, width=8, label_smoothing=0.,
                   padding=1, cutout=0, flip='none', seed=seed, device='cpu', progress=False).filled((32, 32))


@dataclass(frozen=True, eq=False)
class Trained:
    "A planted pair of sets and a network that was trained on it."
    planted: Planted
    model: torch.nn.Module
    predictions: dict[str, Predictions]  # by split
    dynamics: Dynamics


def file_of(folder, seed, kind): return Path(folder) / f'{kind}-{seed:03}.safetensors'


def train_one(seed, kind, images):
    "The tensors of a training, and its seconds."
    planted = plant(seed, images, images // TEST_SHARE, shortcut=KINDS[kind])
    options = options_of(seed)
    loader = make_train_loader(planted.train, options)
    seed_everything(seed)
    trainer = make_trainer(make_model(options, planted.train), options, Compute(), EPOCHS * len(loader))
    recorder = DynamicsRecorder(trainer, loader)
    tests = dict(test=planted.test)
    seconds = seconds_of(lambda: fit(trainer, loader, tests, EPOCHS, (recorder,)))
    dynamics = recorder.dynamics
    tensors = {f'model.{name}': value.contiguous() for name, value in trainer.model.state_dict().items()}
    tensors |= {f'logits.{split}': trainer.test(getattr(planted, split)).logits for split in SPLITS}
    tensors |= dict(margins=dynamics.margins, predicted=dynamics.predicted, tests=dynamics.tests['test'],
                    seconds=torch.tensor(seconds))
    return tensors


def read_trained(
    folder: str | Path,  # of this benchmark
    seed: int,  # of the set
    kind: str = 'shortcut',  # or 'clean'
) -> Trained:
    "What a training has left."
    tensors = load_file(file_of(folder, seed, kind))
    counts = [len(tensors[f'logits.{split}']) for split in SPLITS]
    planted = plant(seed, *counts, shortcut=KINDS[kind])
    model = make_model(options_of(seed), planted.train).eval()
    model.load_state_dict({name.removeprefix('model.'): value for name, value in tensors.items()
                           if name.startswith('model.')})
    sets = {split: getattr(planted, split) for split in SPLITS}
    predictions = {split: Predictions.of(tensors[f'logits.{split}'], image_set.labels, image_set.classes)
                   for split, image_set in sets.items()}
    dynamics = Dynamics(tensors['margins'], tensors['predicted'], dict(test=tensors['tests']))
    return Trained(planted, model, predictions, dynamics)


def mistakes_of(trained):
    "Places of the test mistakes."
    return (~trained.predictions['test'].correct).nonzero()[:, 0].numpy()


def macro_f1(
    true: np.ndarray,  # int (M,), places in `VERDICTS`: the truth of mistakes, of all sets together
    verdict: np.ndarray,  # int (M,), what somebody says of them
) -> float:
    "Mean over the three verdicts of their F1 = 2 hits / (named + there)."
    scores = []
    for number in range(len(VERDICTS)):
        hits = ((true == number) & (verdict == number)).sum()
        scores.append(2 * hits / max(1, (true == number).sum() + (verdict == number).sum()))
    return float(np.mean(scores))


def names_shortcut(
    groups: list,  # of `s8lib.rates.Group`, the most telling first
    planted: Planted,  # the sets in which they were found
) -> bool:
    "Whether the first group is the planted shortcut; on clean sets, whether any shortcut is named."
    if planted.shortcut is None: return any(group.kind == 'shortcut' for group in groups)
    if not groups or groups[0].kind != 'shortcut': return False
    return planted.train.classes[planted.shortcut.label] in groups[0].classes


def errors_of(trained):
    "How many test images each cause has, and on how many the network is wrong."
    truth = trained.planted.truth['test']
    wrong = ~trained.predictions['test'].correct.numpy()
    return {cause: (int((truth.cause == cause).sum()), int((wrong & (truth.cause == cause)).sum()))
            for cause in CAUSES}


def page(setting, runs):
    "A row for each kind of set and cause."
    rows = []
    for kind, cause in product(KINDS, CAUSES):
        counts = np.array([run['errors'][cause] for run in runs if run['kind'] == kind])
        if not len(counts) or not counts[:, 0].sum(): continue
        shares = [wrong / count for count, wrong in counts if count]
        rows.append({'sets': kind, 'cause': cause, 'verdict': CAUSES[cause].verdict,
                     'images': f'{counts[:, 0].sum():,}', 'mistakes': f'{counts[:, 1].sum():,}',
                     'error rate': f'{counts[:, 1].sum() / counts[:, 0].sum():.3f}',
                     'sets with a mistake of it': f'{np.mean(counts[:, 1] > 0):.0%}',
                     'rate in the median set': f'{np.median(shares):.3f}'})
    seconds = np.median([run['seconds'] for run in runs])
    told = f'{len(runs)} trainings, {seconds:.0f} s each in the median. {words(setting)}.'
    return [told, table(rows)]


@call_parse
def main(
    sets: int = 100,  # pairs, each with a shortcut and without
    first: int = 0,  # seed of the first; the weights of the page `verdicts` were learned from 2000 on
    images: int = 2400,  # for training; from 600 a network learns too little to be right about clear images
    folder: str = 'planted',  # where the trainings are kept
    kinds: str = ','.join(KINDS),  # with a comma between them
    name: str = 'planted',  # of the result files
    out: str = RESULTS,  # folder of the result files
):
    "Train on planted sets, as far as it has not been done."
    setting = dict(sets=sets, first=first, images=images, width=8, epochs=EPOCHS, machine=describe('cpu'))
    Path(folder).mkdir(parents=True, exist_ok=True)
    runs = []
    for seed, kind in product(range(first, first + sets), kinds.split(',')):
        file = file_of(folder, seed, kind)
        if not file.is_file():
            part = file.with_suffix('.part')
            save_file(train_one(seed, kind, images), part)
            part.rename(file)
        trained = read_trained(folder, seed, kind)
        runs.append(dict(seed=seed, kind=kind, errors=errors_of(trained),
                         seconds=float(load_file(file)['seconds'])))
        print(f'{file.name}: {runs[-1]["errors"]}', flush=True)
    print(write_result(name, dict(setting=setting, runs=runs), page(setting, runs), out))
