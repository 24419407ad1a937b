"""The scores of `s8lib.faithfulness` beside torchcam, grad-cam and Quantus: images through the network, time, agreement.

    pip install grad-cam==1.5.7 torchcam==0.5.0 scikit-image cachetools
    pip install --no-deps quantus==0.6.0      # it asks for opencv-python, whose files are those of opencv-python-headless
    python benchmarks/faithfulness.py         # one thread of the CPU

A forward hook counts the images; predictions that are there already and maps that are there already are given to everybody who
takes them. Everything is measured in one process, the libraries in turn within each repetition; times are medians.
"""
import argparse
import json
import os
import platform
import statistics
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import quantus
import torch
import torchcam.metrics
from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence, IncreaseInConfidence
from pytorch_grad_cam.metrics.road import ROADCombined
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
from torch import nn
from torchvision.transforms.functional import gaussian_blur

from s8lib.datasets import shapes
from s8lib.engine import describe_machine
from s8lib.faithfulness import (FRACTIONS, centre_gaussian, deletion, drop_and_increase, energy_inside, hits, insertion, random_maps,
                                randomization, rank_correlation, replacement_curve, road, shared_ends)
from s8lib.gradcam import METHODS, cam
from s8lib.models.resnet import resnet18

STEPS = 16
NOTE = ("Per image and map. s8lib is given the logits of the predictions that exist already, and asks for what no map changes once for all maps; "
        "*alone* is without both. torchcam makes its map in the same call; here it gets a map that "
        "is there, and its forward of the untouched image is the one that would have made it. It always computes both curves, with one start for both, "
        "so RISE's deletion to the mean colour and insertion from a blurred image take two calls. grad-cam forwards the untouched image again in each "
        "metric and at each percentile; a loop of one's own with `return_diff=False` would need 10 for ROAD. Quantus' curve leaves out the first point.")
WHY = ("Each point between the ends of a curve is an image of its own and costs a forward; torchcam shares the ends too, so where both curves have the "
       "same start hardly anything is left to save. Of ROAD's forwards in grad-cam half are the untouched image, and the ten imputed images remain. "
       "Fewer forwards would mean a coarser curve.")
DIFFERENCES = {
    'torchcam drop': 'the same; torchcam adds 1e-7 to the denominator',
    'grad-cam drop': 'not divided by the probability: compared with ours times the probability',
    'grad-cam ROAD': 'adds noise that is drawn anew in each call, and its percentiles can be one pixel off ours; averaged over percentiles',
    'quantus pixel flipping': "the same curve without its first point; its area under it needs `np.trapz`, which NumPy 2.4 no longer has",
    'quantus pointing game': 'the same, but a blank map hits, and ours misses',
    'quantus relevance mass': 'the same, but a blank map is NaN, and ours 0',
    'quantus MPRT, similarity': 'the same on the same maps',
    'quantus MPRT, first layer': 'the same layers in the same order; Quantus seeds anew for each layer, so that from the second on the weights are others'}


@dataclass(frozen=True, eq=False)
class Case:
    "What is scored."
    model: nn.Module
    images: torch.Tensor  # (N, 1, 32, 32)
    targets: torch.Tensor # (N,)
    logits: torch.Tensor  # (N, classes), or None: nothing is shared
    maps: list            # of (N, 32, 32)

    @property
    def ends(self): return None if self.logits is None else shared_ends(self.model, self.images, self.targets, self.logits)


class Given:
    "A torchcam extractor whose map is there already."
    def __init__(self, model, maps): self.model, self.maps = model, maps
    def __call__(self, *classes, **options): return [self.maps]
    def fuse_cams(self, cams): return cams[0]
    def _hooks_off(self): return nullcontext()


def blur(images): return gaussian_blur(images, kernel_size=[11, 11], sigma=[5., 5.])


def area(curve): return torch.trapezoid(curve, dx=1 / STEPS)


def own_starts(case):
    "Deletion to the mean colour, insertion from the blurred image."
    ends = case.ends
    return [(deletion(case.model, case.images, maps, case.targets, ends), insertion(case.model, case.images, maps, case.targets, ends)) for maps in case.maps]


def same_start(case):
    "Both curves between the mean colour and the image."
    ends, nothing = case.ends, torch.zeros_like(case.images)
    down = lambda maps: replacement_curve(case.model, case.images, maps, case.targets, nothing, STEPS, ends=ends and (ends.whole, ends.empty))
    up = lambda maps: replacement_curve(case.model, nothing, maps, case.targets, case.images, STEPS, ends=ends and (ends.empty, ends.whole))
    return [(area(down(maps)), area(up(maps))) for maps in case.maps]


def only_deletion(case):
    ends = case.ends
    return [deletion(case.model, case.images, maps, case.targets, ends) for maps in case.maps]


def drop(case):
    ends = case.ends
    return [drop_and_increase(case.model, case.images, maps, case.targets, ends=ends) for maps in case.maps]


def roads(case): return [road(case.model, case.images, maps, case.targets) for maps in case.maps]


def in_torchcam(metric, case, **options):
    "The summary of each set of maps."
    found = []
    for maps in case.maps:
        scorer = metric(Given(case.model, maps), partial(torch.softmax, dim=-1), **options)
        scorer.update(case.images, case.targets.tolist())
        found.append(scorer.summary())
    return found


def torchcam_curves(case, baseline=None):
    return in_torchcam(torchcam.metrics.DeletionInsertionMetric, case, steps=STEPS, baseline=baseline, batch_size=256)


def in_grad_cam(metrics, case):
    "A list of values for each set of maps and each metric."
    chosen = [ClassifierOutputSoftmaxTarget(target) for target in case.targets.tolist()]
    return [[metric(case.images, maps.numpy(), chosen, case.model) for metric in metrics] for maps in case.maps]


QUIET = dict(normalise=False, abs=False, disable_warnings=True, display_progressbar=False)


def in_quantus(metric, case, masks=None, **options):
    "What the metric says of each set of maps."
    arrays = dict(x_batch=case.images.numpy(), y_batch=case.targets.numpy(), channel_first=True, batch_size=len(case.images), **options)
    if masks is not None: arrays['s_batch'] = masks.numpy()[:, None]
    return [metric(model=case.model, a_batch=maps.numpy()[:, None], **arrays) for maps in case.maps]


def pixel_flipping(case):
    flip = quantus.PixelFlipping(features_in_step=case.images[0].numel() // STEPS, perturb_baseline=0., **QUIET)
    return in_quantus(flip, case, softmax=True)


SCORES = {
    'deletion and insertion, each with its own start': {'s8lib': own_starts, 'torchcam': lambda case: (torchcam_curves(case), torchcam_curves(case, blur))},
    'deletion and insertion, the same start': {'s8lib': same_start, 'torchcam': torchcam_curves},
    'deletion': {'s8lib': only_deletion, 'torchcam': torchcam_curves, 'quantus': pixel_flipping},
    'drop and increase': {'s8lib': drop, 'torchcam': partial(in_torchcam, torchcam.metrics.ClassificationMetric),
                          'grad-cam': partial(in_grad_cam, [DropInConfidence(), IncreaseInConfidence()])},
    'ROAD': {'s8lib': roads, 'grad-cam': partial(in_grad_cam, [ROADCombined([round(100 * fraction) for fraction in FRACTIONS])])}}


def make_case(num_images, width):
    "Grey drawn shapes, since Quantus counts each channel of a pixel as a feature, a network with random weights, and its maps."
    torch.manual_seed(0)
    model, drawn = resnet18(in_channels=1, width=width).eval(), shapes('test', num_images)
    with torch.no_grad(): model.head.linear.weight *= 300 # probabilities that move
    images = torch.as_tensor(drawn.images).float().mean(3)[:, None] / 128 - 1
    with torch.no_grad(): logits = model(images)
    targets = logits.argmax(1)
    maps = [cam(model, images, targets, 'features', method).upsample(32)[:, 0] for method in METHODS]
    return Case(model, images, targets, logits, [random_maps(images), centre_gaussian(images), *maps]), torch.as_tensor(drawn.masks)


def forwards(run, case):
    "Images through the network for each image and map."
    seen = []
    with case.model.register_forward_hook(lambda module, args, output: seen.append(len(output))): run(case)
    return sum(seen) / len(case.images) / len(case.maps)


def time_of(run, case):
    "Milliseconds for each image and map."
    start = time.perf_counter()
    run(case)
    return (time.perf_counter() - start) * 1000 / len(case.images) / len(case.maps)


def measure_cost(case, repeats):
    "Rows of forwards for all maps, and rows of median times for three of them."
    counts, times, few = [], [], replace(case, maps=case.maps[:3])
    for score, libraries in SCORES.items():
        found = {library: forwards(run, case) for library, run in libraries.items()}
        alone = forwards(libraries['s8lib'], replace(case, logits=None))
        share = {f"share of {library}'s": found['s8lib'] / count for library, count in found.items() if library != 's8lib'}
        counts.append({'score': score, 's8lib alone': alone, **found, **share})
        seconds = {library: [] for library in libraries}
        for _ in range(repeats):
            for library, run in libraries.items(): seconds[library].append(time_of(run, few))
        times.append({'score': score, **{f'{library}, ms': statistics.median(values) for library, values in seconds.items()}})
        print(counts[-1], times[-1], flush=True)
    return counts, times


def largest(found, expected): return (torch.as_tensor(found).double() - torch.as_tensor(expected).double()).abs().max().item()


def measure_agreement(case, masks):
    "Largest differences, on maps without two equal pixels where the order counts."
    mixed = torch.rand(case.images[:, 0].shape, generator=torch.Generator().manual_seed(0)).flatten(1).argsort(1)
    heat = mixed.unflatten(1, (32, 32)) / mixed.shape[1]
    found = {**measure_curves(replace(case, maps=[heat])), **measure_places(replace(case, maps=case.maps[-1:]), masks), **measure_randomization(case)}
    return [{'score': name, 'largest difference': value, 'definition': DIFFERENCES.get(name, 'the same')} for name, value in found.items()]


def measure_curves(case):
    "Of what forwards images."
    (down, up), = own_starts(case)
    (fell, rose), = drop(case)
    scores, = in_torchcam(torchcam.metrics.ClassificationMetric, case)
    (falls, roads_there), = in_grad_cam([DropInConfidence(), ROADCombined([round(100 * fraction) for fraction in FRACTIONS])], case)
    flips = replacement_curve(case.model, case.images, case.maps[0], case.targets, case.images.new_zeros(1), STEPS)[:, 1:]
    return {'torchcam deletion': largest(torchcam_curves(case)[0]['deletion_auc'], down.mean()),
            'torchcam insertion': largest(torchcam_curves(case, blur)[0]['insertion_auc'], up.mean()),
            'torchcam drop': largest(scores['avg_drop'], fell.mean()), 'torchcam increase': largest(scores['conf_increase'], rose.float().mean()),
            'grad-cam drop': largest(falls, fell * case.ends.whole), 'grad-cam ROAD': largest(roads_there, roads(case)[0]),
            'quantus pixel flipping': largest(pixel_flipping(case)[0], flips)}


def measure_places(case, masks):
    "Of what knows where the object is."
    hit, inside = (in_quantus(metric(**QUIET), case, masks)[0] for metric in (quantus.PointingGame, quantus.RelevanceMassAccuracy))
    return {'quantus pointing game': largest(np.float32(hit), hits(case.maps[0], masks).float()),
            'quantus relevance mass': largest(inside, energy_inside(case.maps[0], masks))}


def measure_randomization(case):
    "Quantus' cascade with its own similarity and with ours, and its first layer beside ours; the map has the size of the image."
    def explain(model, inputs, targets, **options):
        return cam(model, torch.as_tensor(inputs), torch.as_tensor(targets), 'stem', 'hirescam').maps.numpy()
    def ours(first, second, batched): return rank_correlation(torch.as_tensor(first), torch.as_tensor(second)).numpy()
    some = replace(case, images=case.images[:4], targets=case.targets[:4])
    given = dict(x_batch=some.images.numpy(), y_batch=some.targets.numpy(), channel_first=True, batch_size=4, explain_func=explain)
    with torch.random.fork_rng():
        found = [quantus.MPRT(similarity_func=similar, layer_order='top_down', seed=0, **QUIET)(model=some.model, **given)
                 for similar in (quantus.similarity_func.correlation_spearman, ours)]
    layers = [list(values) for name, values in found[0].items() if name != 'original']
    same = [list(values) for name, values in found[1].items() if name != 'original']
    cascade = randomization(some.model, some.images, some.targets, 'stem', 'hirescam', seed=1) # Quantus adds 1 to its seed
    if list(cascade) != [name for name in found[0] if name != 'original']: raise ValueError('Quantus randomizes other layers')
    return {'quantus MPRT, similarity': largest(layers, same), 'quantus MPRT, first layer': largest(np.mean(layers[0]), next(iter(cascade.values())))}


def table(rows):
    "A Markdown table."
    keys = list(dict.fromkeys(key for row in rows for key in row))
    def text(value): return '' if value is None else value if isinstance(value, str) else f'{value:.3g}'
    lines = [keys, ['---'] * len(keys), *[[text(row.get(key)) for key in keys] for row in rows]]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def reached(counts):
    "The scores that take a third of somebody's forwards or less."
    return [f"{row['score']} beside {library}" for row in counts for library in ('torchcam', 'quantus', 'grad-cam') if row['s8lib'] <= row.get(library, 0) / 3]


def page(setting, counts, times, agreement):
    "All of it in Markdown."
    by_score = {row['score']: row for row in counts}
    curves, little, removed = (by_score[name] for name in ('deletion and insertion, each with its own start', 'drop and increase', 'ROAD'))
    ours, theirs = curves['s8lib'] + 1 + removed['s8lib'], curves['torchcam'] + little['torchcam'] + removed['grad-cam']
    return '\n\n'.join([
        '# Scores of maps, side by side',
        f"ResNet-18 of s8lib, {setting['width']} channels wide, random weights, 32x32, one channel. " + ', '.join(f'{name} {value}' for name, value in setting.items()) + '.',
        '## Images through the network', NOTE, table(counts), f"A third or less: {', '.join(reached(counts)) or 'nothing'}. " + WHY,
        f"All scores of a map together take {ours:.1f} forwards an image, the logits being known, and {theirs:.0f} with torchcam for the curves and the drop and grad-cam for ROAD.",
        '## Time', 'Milliseconds per image and map, three maps at once. Each call of s8lib works on a private copy of the model, which takes about as long as a forward of four images here and shows in the drop.', table(times),
        '## Agreement', 'Of scores from 0 to 1; of means over the images for torchcam, which gives nothing else, and image by image for the others.', table(agreement)]) + '\n'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', type=int, default=4)
    parser.add_argument('--width', type=int, default=8, help='of the ResNet-18')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--out', type=Path, default=Path(__file__).parent / 'results')
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    case, masks = make_case(arguments.images, arguments.width)
    setting = {'hardware': describe_machine(torch.device('cpu'))['processor'], 'threads': 1, 'load at the start': round(os.getloadavg()[0], 1), 'images': arguments.images,
               'width': arguments.width, 'maps': len(case.maps), 'repeats': arguments.repeats, 'python': platform.python_version(),
               **{name: version(name) for name in ('s8lib', 'torch', 'numpy', 'grad-cam', 'torchcam', 'quantus')}}
    counts, times = measure_cost(case, arguments.repeats)
    agreement = measure_agreement(case, masks)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / 'faithfulness-cpu.json').write_text(json.dumps(dict(setting=setting, forwards=counts, time=times, agreement=agreement), indent=1) + '\n')
    (arguments.out / 'faithfulness-cpu.md').write_text(page(setting, counts, times, agreement))
    print(page(setting, counts, times, agreement))


if __name__ == '__main__': main()
