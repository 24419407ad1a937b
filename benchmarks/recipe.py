"""Measure what each part of the training recipe is worth: one part after the other is added, and every row is run with several seeds.

    python benchmarks/recipe.py --data-dir FOLDER                             # FOLDER/{train,test}/<class>/*; a narrow network, a part of the images
    python benchmarks/recipe.py --data-dir FOLDER --width 64 --num-images 0   # the whole network on all images: for a GPU

Each finished run is kept in the result file, and a run that is there is not repeated, so the command can be stopped and started again.
The accuracy is that of the last epoch, on the test images, which choose nothing; with --valid, on as many images held out of the training images.
"""
import json
import time
from pathlib import Path

import torch
from fastcore.script import call_parse
from scipy.stats import t as student

from s8lib.batches import make_train_loader
from s8lib.data import channel_stats, stratified_split
from s8lib.datasets import load_dataset
from s8lib.engine import compile_network, describe_machine, make_scaler, pick_compile, pick_device, pick_precision, place, seed_everything
from s8lib.models.resnet import resnet18
from s8lib.optimizers import make_optimizer, make_schedule
from s8lib.predictions import MirrorAveraged
from s8lib.recipes import RECIPES
from s8lib.training import test_epoch, train_epoch
from s8lib.transforms import Augmentation

PLAIN = dict(optimizer='sgd', learning_rate=.01, weight_decay=5e-4, schedule='constant', label_smoothing=0., padding=4, flip='none', cutout=16)
SMOOTH = PLAIN | dict(learning_rate=.05, schedule='one-cycle', label_smoothing=.1)
MUON = {name: value for name, value in RECIPES['muon'].items() if name not in ('epochs', 'batch_size')}
LARGE = MUON | dict(cutout=16)
LADDER = {
    'Nesterov SGD, rate 0.01': PLAIN,
    'Adam, rate 0.001': PLAIN | dict(optimizer='adam', learning_rate=.001),
    'Nesterov SGD, one-cycle to 0.05, smoothing 0.1': SMOOTH,
    '… and the alternating flip': SMOOTH | dict(flip='alternating'),
    '… and Muon, triangle to 0.1': LARGE,
    '… and CutOut of 8 instead of 16: the recipe': MUON,
}
WITHOUT = {
    'Muon with CutOut of 16, without label smoothing': LARGE | dict(label_smoothing=0.),
    'Muon with CutOut of 16, a flip at random': LARGE | dict(flip='random'),
    'Muon with CutOut of 16, one-cycle': LARGE | dict(schedule='one-cycle'),
    'Muon with CutOut of 12, inside': LARGE | dict(cutout=12, cutout_kind='inside'),
    'Muon without CutOut': LARGE | dict(cutout=0),
    'the recipe with reflected padding': MUON | dict(padding_mode='reflect'),
}
# KellerJordan/cifar10-zoo, train_resnet18_94.py: 26 epochs, batch 500
PEER = {'the 26-epoch recipe': dict(optimizer='sgd', learning_rate=.2, weight_decay=5e-4, schedule='triangle', label_smoothing=0., padding=4,
                                    padding_mode='reflect', flip='random', cutout=12, cutout_kind='inside', epochs=26, batch_size=500)}
# for few images, where batches of 500 leave it too few steps
PEER_64 = {'the 26-epoch recipe in batches of 64, rate 0.05': PEER['the 26-epoch recipe'] | dict(learning_rate=.05, batch_size=64)}
ROWS = dict(ladder=LADDER, without=WITHOUT, peer=PEER, peer64=PEER_64)

def accuracies(train_set, test_set, width, seed, device, optimizer, learning_rate, weight_decay, schedule, label_smoothing, epochs, batch_size, **augmentation):
    "Train, and test at the end: plain, and averaged with the mirror images."
    seed_everything(seed)
    stats, precision = channel_stats(train_set), pick_precision(device)
    model = place(resnet18(len(train_set.classes), width=width), device)
    loader = make_train_loader(train_set, stats, Augmentation(**augmentation), batch_size, seed=seed, device=device)
    trained_by = make_optimizer(model, optimizer, learning_rate, weight_decay)
    steps = make_schedule(trained_by, schedule, epochs * len(loader))
    scaler = make_scaler(device, precision)
    trained = compile_network(model) if pick_compile(device, 'auto', epochs * len(train_set)) else model
    for epoch in range(epochs):
        loader.set_epoch(epoch)
        train_epoch(trained, loader, trained_by, steps, label_smoothing, precision, scaler)
    return [test_epoch(asked, test_set, stats, precision).accuracy for asked in (model, MirrorAveraged(model))]

def interval(values):
    "Half the width of the 95% interval of the mean (Student), or None for a single run."
    values = torch.tensor(values, dtype=torch.float64)
    return student.ppf(.975, len(values) - 1) * values.std().item() / len(values)**.5 if len(values) > 1 else None

def finished(out):
    "Setting and runs that are in the result file already."
    kept = Path(out).with_suffix('.json')
    return json.loads(kept.read_text(encoding='utf-8')) if kept.is_file() else dict(setting=None, runs=[])

def write(out, setting, runs):
    "The result as JSON and as a table."
    machine = setting['machine']
    lines = [f"ResNet-18 of width {setting['width']}, {setting['data']}: {setting['train_images']:,} training images, {setting['epochs']} epochs, "
             f"batch {setting['batch_size']}; accuracy on {setting['tested_on']}; {machine.get('gpu', machine['processor'])}, torch {machine['torch']}.", '',
             '| trained with | accuracy, mean | 95% interval | each seed | averaged with the mirror image |', '|---|---|---|---|---|']
    runs = sorted(runs, key=lambda run: ([name for rows in ROWS.values() for name in rows].index(run['name']), run['seed']))
    for name in dict.fromkeys(run['name'] for run in runs):
        values, mirrored = ([run[what] for run in runs if run['name'] == name] for what in ('accuracy', 'mirror_averaged'))
        half = interval(values)
        lines.append(f"| {name} | {sum(values) / len(values):.2%} | {f'± {half:.2%}' if half else '–'} | {', '.join(f'{v:.2%}' for v in values)} | "
                     f"{sum(mirrored) / len(mirrored):.2%} |")
    Path(out).with_suffix('.md').write_text('\n'.join(lines) + '\n', encoding='utf-8')
    Path(out).with_suffix('.json').write_text(json.dumps(dict(setting=setting, runs=runs), indent=1) + '\n', encoding='utf-8')

@call_parse
def main(
    data_dir: str = None,     # holds {train,test}/<class>/*; by default the drawn shapes
    data_name: str = None,    # what to call these data in the result
    num_images: int = 10000,  # of the training images; 0 for all
    width: int = 8,           # channels of the stem; 64 is the published network
    epochs: int = 20,         # of each run
    batch_size: int = 64,     # images in a batch
    seeds: int = 3,           # runs of each row
    first_seed: int = 0,      # of them, so that several commands can share the work
    rows: str = 'ladder',     # of 'ladder', 'without', 'peer' and 'peer64'; several with a comma between them
    valid: bool = False,      # measure on as many images, held out of the training images
    out: str = None,          # .md and .json are written; by default benchmarks/results/recipe-width-N
):
    "Measure what each part of the training recipe is worth."
    train_set, test_set = load_dataset('folder' if data_dir else 'shapes', data_dir)
    if valid: train_set, test_set = stratified_split(train_set, .5, 0)
    if 0 < num_images < len(train_set): train_set = stratified_split(train_set, num_images / len(train_set), 0)[1]
    device, out = pick_device(), out or f'benchmarks/results/recipe-width-{width}'
    setting = dict(data=data_name or ('images of a folder' if data_dir else 'shapes'), train_images=len(train_set), width=width, epochs=epochs,
                   batch_size=batch_size, tested_on=f'{len(test_set):,} {"held-out training" if valid else "test"} images', machine=describe_machine(device))
    def comparable(setting): return {what: value for what, value in setting.items() if what != 'machine'}
    earlier = finished(out)['setting']
    if earlier and comparable(earlier) != comparable(setting): raise SystemExit(f'{out}.json holds runs of another setting; take another --out')
    chosen = {name: options for group in rows.split(',') for name, options in ROWS[group].items()}
    for seed in range(first_seed, first_seed + seeds):
        for name, options in chosen.items():
            if any((run['name'], run['seed']) == (name, seed) for run in finished(out)['runs']): continue
            start = time.perf_counter()
            plain, mirrored = accuracies(train_set, test_set, width, seed, device, **dict(epochs=epochs, batch_size=batch_size) | options)
            run = dict(name=name, seed=seed, accuracy=plain, mirror_averaged=mirrored, seconds=round(time.perf_counter() - start))
            print(f"{plain:7.2%}  {mirrored:7.2%}  seed {seed}  {name}  {run['seconds']} s", flush=True)
            write(out, setting, finished(out)['runs'] + [run])
