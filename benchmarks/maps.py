"""The scores of `s8lib.faithfulness` for each kind of class activation map, on a trained network.

    python benchmarks/maps.py --run RUN_FOLDER                       # images where the run found them
    python benchmarks/maps.py --run RUN_FOLDER --data-dir FOLDER     # FOLDER/test/<class>/*
    python benchmarks/maps.py --shapes                               # a narrow network, trained on the spot on drawn shapes

Half of the images, or as many as there are, are ones that the network gets wrong, and the map is of the class that it predicts. A random map and a
centre Gaussian are scored on the same images, and each score comes with the standard error of its difference to the random
map, image by image: a method that is not two of them away has shown nothing. The files are written after each row. On the drawn shapes
the place of the object is known, so that the pointing game and the energy inside the object are scored too.
"""
import json
import time
from importlib.metadata import version
from pathlib import Path

import torch
from fastcore.script import call_parse

from s8lib.batches import make_train_loader
from s8lib.data import channel_stats
from s8lib.datasets import shapes
from s8lib.engine import describe_machine, seed_everything
from s8lib.faithfulness import (centre_gaussian, deletion, drop_and_increase, energy_inside, hits, insertion, random_maps, randomization, road,
                                shared_ends)
from s8lib.gradcam import METHODS, cam
from s8lib.main import open_run
from s8lib.models.resnet import resnet18
from s8lib.optimizers import make_optimizer
from s8lib.runs import Run
from s8lib.training import fit
from s8lib.transforms import Augmentation, normalize

BETTER = dict(deletion='lower', insertion='higher', drop='lower', increase='higher', road='higher', pointing='higher', energy='higher')
SLOW = 'scorecam', 'ablationcam' # a forward for each channel of each image
POINTING = (' Pointing is the share of maps whose peak is on the object, energy the part of the map that is on it; the object covers {covered:.0%} '
            'of its image on average.')

def run_on_shapes(device, width=16, epochs=6):
    "A narrow ResNet-18, trained on the drawn shapes for a minute or two."
    seed_everything(0)
    train_set, test_set = shapes('train'), shapes('test')
    stats, model = channel_stats(train_set), resnet18(len(train_set.classes), width=width).to(device)
    loader, tested = make_train_loader(train_set, stats, Augmentation(), batch_size=16, device=device), []
    history = fit(model, loader, test_set, stats, epochs, make_optimizer(model, 'sgd', learning_rate=.02), 'one-cycle', progress=False,
                  on_epoch=lambda row, predictions: tested.append(predictions))
    return Run(None, model.eval(), train_set, test_set, stats, history, dict(model=f'resnet18, {width} channels wide,', dataset='drawn shapes'), tested[-1])

def spread(found, count):
    "`count` of these indices, evenly spaced."
    return found[torch.linspace(0, len(found) - 1, min(count, len(found))).round().long()]

def choose_images(predictions, num_images):
    "Indices of as many mistakes as right answers, each evenly spaced over the set."
    wrong = spread((~predictions.correct).nonzero()[:, 0], num_images // 2)
    return torch.cat([wrong, spread(predictions.correct.nonzero()[:, 0], num_images - len(wrong))])

def score_images(model, images, maps, targets, ends, masks):
    "Each score of each image."
    drop, rose = drop_and_increase(model, images, maps, targets, ends=ends)
    scores = dict(deletion=deletion(model, images, maps, targets, ends), insertion=insertion(model, images, maps, targets, ends),
                  drop=drop, increase=rose.float(), road=road(model, images, maps, targets))
    if masks is not None: scores |= dict(pointing=hits(maps, masks).float(), energy=energy_inside(maps, masks))
    return scores

def summary(scores, random):
    "Mean of each score, and the standard error of its difference to the random map's."
    return {name: dict(mean=values.mean().item(), error=((values - random[name]).std() / len(values) ** .5).item())
            for name, values in scores.items()}

def page(setting, rows):
    "The table in Markdown."
    def text(row, name): return f"{row[name]['mean']:.3f}" + (f" ± {row[name]['error']:.3f}" if row['map'] != 'random' else '')
    def similar(row): return f"{row['randomization']:.2f}" if row['randomization'] is not None else ''
    scored = [name for name in BETTER if name in rows[0]]
    machine, left_out = setting['machine'], [method for method in METHODS if method not in [row['map'] for row in rows]]
    lines = [f"{setting['model']} after {setting['epochs']} epochs on {setting['data']}, test accuracy {setting['test_accuracy']:.2%} when it was trained. "
             f"{setting['images']} of {setting['test_images']:,} test images, {setting['mistakes']} of them misclassified; the predicted class; "
             f"layer `{setting['layer']}`. "
             f"s8lib {setting['s8lib']}, torch {machine['torch']}, Python {machine['python']}, {machine.get('gpu', machine['processor'])}, "
             f"threads: {machine['threads']}.", '',
             '± is the standard error of the difference to the random map on the same images; a difference of less than two of them shows '
             f"nothing. Randomization is the mean rank correlation with the map of the trained network while its layers lose their weights, "
             f"from the last one down, on {setting['cascade_images']} of the images; it is left empty for {' and '.join(SLOW)}, which take a "
             'forward for each channel. Seconds are those of the maps alone.' + (POINTING.format(**setting) if 'pointing' in scored else ''), '',
             '| map | ' + ' | '.join(f'{name} ({BETTER[name]})' for name in scored) + ' | randomization (lower) | blank | seconds |',
             '|---' * (len(scored) + 4) + '|']
    lines += [f"| {row['map']} | " + ' | '.join(text(row, name) for name in scored) + f" | {similar(row)} | {row['blank']} | {row['seconds']:.1f} |"
              for row in rows]
    if left_out: lines += ['', f"Not measured here: {', '.join(left_out)}."]
    return '\n'.join(lines) + '\n'

def write(out, setting, rows, text):
    "The page and the numbers."
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix('.md').write_text(text, encoding='utf-8')
    out.with_suffix('.json').write_text(json.dumps(dict(setting=setting, rows=rows), indent=1) + '\n', encoding='utf-8')

@call_parse
def main(
    run: str = None,          # the folder of a run
    shapes: bool = False,     # instead of a run: train a narrow network on the drawn shapes, whose places are known
    data_dir: str = None,     # where the images are now, if they have moved
    data_name: str = None,    # what to call these data in the result
    num_images: int = 40,     # of the test set, half of them misclassified
    cascade_images: int = 8,  # of these, for the randomization
    layer: str = 'features',  # name of the layer
    methods: str = ','.join(METHODS), # names, separated by commas
    device: str = 'cpu',      # where it all runs
    out: str = None,          # .md and .json are written
):
    "Score each kind of map on a trained network."
    if (run is None) != shapes: raise SystemExit('--run: give the folder of a run, or --shapes and no run')
    opened = run_on_shapes(device) if shapes else open_run(run, data_dir, device)
    model, chosen = opened.model, choose_images(opened.predictions, num_images)
    images, masks = normalize(opened.test.images[chosen.numpy()], opened.stats).to(device), None
    if shapes: masks = torch.as_tensor(opened.test.masks[chosen.numpy()]).to(device)
    targets, few = opened.predictions.predicted[chosen].to(device), spread(torch.arange(len(chosen)), cascade_images).to(device)
    setting = dict(model=opened.config['model'], epochs=len(opened.history), test_accuracy=opened.history[-1]['test_accuracy'],
                   data=data_name or opened.config['dataset'], images=len(chosen), mistakes=int((~opened.predictions.correct[chosen]).sum()),
                   test_images=len(opened.test), cascade_images=len(few), layer=layer, s8lib=version('s8lib'),
                   machine=describe_machine(torch.device(device)))
    if shapes: setting['covered'] = masks.float().mean().item()
    ends = shared_ends(model, images, targets, opened.predictions.logits[chosen])
    out, rows, random = Path(out or f'benchmarks/results/maps{"-shapes" * shapes}-{"gpu" if device.startswith("cuda") else "cpu"}'), [], None
    for name in ('random', 'centre Gaussian', *methods.split(',')):
        start, blank, similar = time.perf_counter(), 0, None
        if name == 'random': maps = random_maps(images)
        elif name == 'centre Gaussian': maps = centre_gaussian(images)
        else:
            found = cam(model, images, targets, layer, name)
            maps, blank = found.upsample(images.shape[2:])[:, 0], int(found.blank.sum())
        seconds, scores = time.perf_counter() - start, score_images(model, images, maps, targets, ends, masks)
        random = random or scores
        if name in METHODS and name not in SLOW:
            cascade = randomization(model, images[few], targets[few], layer, name)
            similar = sum(cascade.values()) / len(cascade)
        rows.append(dict(map=name, **summary(scores, random), randomization=similar, blank=blank, seconds=seconds))
        print(f"{name:16}", {key: round(rows[-1][key]['mean'], 3) for key in scores}, similar, f'{time.perf_counter() - start:.0f} s', flush=True)
        write(out, setting, rows, page(setting, rows))
