"""Measure the choices behind the defaults of `train`, on a narrow network and a validation split.

    python benchmarks/defaults.py --data-dir FOLDER      # FOLDER/train/<class>/*: real images
    python benchmarks/defaults.py                        # the drawn shapes

A ResNet-18 of width 8 (one sixty-fourth of the work) learns a part of the training images for a few epochs; accuracy is
measured on as many others, held out of the training images too. The test images are not looked at.
"""
import json
import time
from pathlib import Path

import torch
from fastcore.script import call_parse

from s8lib.data import channel_stats, stratified_split
from s8lib.datasets import image_folder, shapes
from s8lib.engine import describe_machine, place, seed_everything
from s8lib.training import fit, make_optimizer, make_train_loader
from s8lib.models.resnet import resnet18
from s8lib.transforms import Recipe

WIDTH = 8
BASE = dict(batch_size=64, optimizer='sgd', learning_rate=.05, schedule='one-cycle', label_smoothing=0.)
CHANGES = {
    'base: SGD 0.05, batch 64, one-cycle': {},
    'rate 0.02': dict(learning_rate=.02),
    'rate 0.1': dict(learning_rate=.1),
    'batch 32': dict(batch_size=32),
    'batch 128': dict(batch_size=128),
    'batch 128, rate 0.1': dict(batch_size=128, learning_rate=.1),
    'cosine': dict(schedule='cosine'),
    'constant rate': dict(schedule='constant'),
    'Adam 0.001': dict(optimizer='adam', learning_rate=.001),
    'AdamW 0.001': dict(optimizer='adamw', learning_rate=.001),
    'label smoothing 0.1': dict(label_smoothing=.1),
}

def validation_accuracy(train_set, valid_set, epochs, seed, batch_size, optimizer, learning_rate, schedule, label_smoothing):
    "Accuracy on the validation images after the last epoch."
    seed_everything(seed)
    stats = channel_stats(train_set)
    model = place(resnet18(len(train_set.classes), width=WIDTH), torch.device('cpu'))
    loader = make_train_loader(train_set, stats, Recipe(), batch_size, seed=seed)
    return fit(model, loader, valid_set, stats, epochs, make_optimizer(model, optimizer, learning_rate), schedule, label_smoothing,
               progress=False)[-1]['test_accuracy']

@call_parse
def main(
    data_dir: str = None,    # holds train/<class>/*; by default the drawn shapes
    data_name: str = None,   # what to call these data in the result
    num_images: int = 10000, # of the training images, one half to learn and one to validate
    epochs: int = 6,         # of each run
    seeds: int = 2,          # runs of each row
    out: str = 'benchmarks/results/defaults', # .md and .json are written
):
    "Compare the choices behind the defaults of `train`."
    everything = image_folder(data_dir) if data_dir else shapes(num_images=num_images)
    few = everything if len(everything) <= num_images else stratified_split(everything, num_images / len(everything))[1]
    train_set, valid_set = stratified_split(few, .5)
    name = data_name or ('images of a folder' if data_dir else 'shapes')
    setting = dict(data=name, train_images=len(train_set), valid_images=len(valid_set), width=WIDTH, epochs=epochs, seeds=seeds,
                   machine=describe_machine(torch.device('cpu')))
    rows = []
    for change, options in CHANGES.items():
        start = time.perf_counter()
        accuracies = [validation_accuracy(train_set, valid_set, epochs, seed, **BASE | options) for seed in range(seeds)]
        rows.append(dict(change=change, mean=sum(accuracies) / seeds, accuracies=accuracies, seconds=round(time.perf_counter() - start)))
        print(f"{rows[-1]['mean']:7.2%}  {change}  {accuracies}  {rows[-1]['seconds']} s", flush=True)
        lines = [f'ResNet-18 of width {WIDTH} on {name}: {len(train_set):,} training and {len(valid_set):,} validation images, {epochs} epochs, '
                 f'{seeds} seeds; {setting["machine"]["processor"]}, torch {setting["machine"]["torch"]}.', '',
                 '| choice | validation accuracy | each seed |', '|---|---|---|']
        lines += [f"| {row['change']} | {row['mean']:.2%} | {', '.join(f'{a:.1%}' for a in row['accuracies'])} |" for row in rows]
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).with_suffix('.md').write_text('\n'.join(lines) + '\n', encoding='utf-8')
        Path(out).with_suffix('.json').write_text(json.dumps(dict(setting=setting, rows=rows), indent=1) + '\n', encoding='utf-8')
