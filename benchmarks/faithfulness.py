"""The scores of `s8lib.faithfulness` beside torchcam, grad-cam and Quantus: forwards, time, agreement.

    pip install grad-cam==1.5.7 torchcam==0.5.0 scikit-image cachetools pandas
    pip install --no-deps quantus==0.6.0      # it asks for opencv-python, whose files the headless one has
    python benchmarks/faithfulness.py         # one thread of the CPU

A forward hook counts the images; predictions that are there already and maps that are there already are given
to everybody who takes them. Everything is measured in one process, the libraries in turn within each
repetition; times are medians.
"""
import os
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import quantus
import torch
import torchcam.metrics
from fastcore.script import call_parse
from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence, IncreaseInConfidence
from pytorch_grad_cam.metrics.road import ROADCombined
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
from shared import RESULTS, describe, median_seconds, table, words, write_result
from torch import nn
from torchvision.transforms.functional import gaussian_blur

from s8lib.datasets import shapes
from s8lib.faithfulness import (
    BASELINES, FRACTIONS, Question, deletion, drop_and_increase, energy_inside, hits, insertion,
    randomization, rank_correlation, replacement_curve, road)
from s8lib.gradcam import METHODS, cam
from s8lib.models.resnet import resnet18

STEPS = 16
PERCENTILES = [round(100 * fraction) for fraction in FRACTIONS]
QUIET = dict(normalise=False, abs=False, disable_warnings=True, display_progressbar=False)  # of Quantus
NOTE = ('Per image and map. s8lib is given the logits of the predictions that exist already, and asks for '
        'what no map changes once for all maps; *alone* is without both. torchcam makes its map in the '
        'same call; here it gets a map that is there, and its forward of the untouched image is the one '
        "that would have made it. It always computes both curves, with one start for both, so RISE's "
        'deletion to the mean colour and insertion from a blurred image take two calls. grad-cam forwards '
        "the untouched image again in each metric and at each percentile; a loop of one's own with "
        "`return_diff=False` would need 10 for ROAD. Quantus' curve leaves out the first point.")
WHY = ('Each point between the ends of a curve is an image of its own and costs a forward; torchcam '
       'shares the ends too, so where both curves have the same start hardly anything is left to save. Of '
       "ROAD's forwards in grad-cam half are the untouched image, and the ten imputed images remain. "
       'Fewer forwards would mean a coarser curve.')
TIMES = ('Milliseconds per image and map, three maps at once. Each question of s8lib works on a private '
         'copy of the model, which takes about as long as a forward of four images here and shows in the '
         'drop.')
AGREEMENT = ('Of scores from 0 to 1; of means over the images for torchcam, which gives nothing else, and '
             'image by image for the others.')
DIFFERENCES = {
    'torchcam drop': 'the same; torchcam adds 1e-7 to the denominator',
    'grad-cam drop': 'not divided by the probability: compared with ours times the probability',
    'grad-cam ROAD': 'adds noise that is drawn anew in each call, and its percentiles can be one pixel off '
                     'ours; averaged over percentiles',
    'quantus pixel flipping': 'the same curve without its first point; its area under it needs `np.trapz`, '
                              'which NumPy 2.4 no longer has',
    'quantus pointing game': 'the same, but a blank map hits, and ours misses',
    'quantus relevance mass': 'the same, but a blank map is NaN, and ours 0',
    'quantus MPRT, similarity': 'the same on the same maps',
    'quantus MPRT, first layer': 'the same layers in the same order; Quantus seeds anew for each layer, '
                                 'so that from the second on the weights are others'}


@dataclass(frozen=True, eq=False)
class Case:
    "What is scored."
    model: nn.Module
    images: torch.Tensor  # (N, 1, 32, 32)
    targets: torch.Tensor  # (N,)
    logits: torch.Tensor | None  # (N, classes), if they are known
    maps: list  # of (N, 32, 32)
    masks: torch.Tensor  # bool (N, 32, 32)

    def question(self):
        "A new one, which has asked for nothing yet."
        return Question(self.model, self.images, self.targets, self.logits)

    def alone(self):
        "A case for each of the maps, without logits."
        return [replace(self, logits=None, maps=[maps]) for maps in self.maps]


class Given:
    "A torchcam extractor whose map is there already."
    def __init__(self, model, maps):
        self.model = model
        self.maps = maps

    def __call__(self, *classes, **options): return [self.maps]

    def fuse_cams(self, cams): return cams[0]

    def _hooks_off(self): return nullcontext()


def blur(images): return gaussian_blur(images, kernel_size=[11, 11], sigma=[5., 5.])


def own_starts(case):
    "Deletion to the mean colour, insertion from the blurred image."
    question = case.question()
    return [(deletion(question, maps), insertion(question, maps)) for maps in case.maps]


def same_start(case):
    "Both curves between the mean colour and the image."
    question = case.question()
    def area(maps, start, end):
        return torch.trapezoid(replacement_curve(question, maps, start, end, STEPS), dx=1 / STEPS)
    return [(area(maps, question.whole, question.empty), area(maps, question.empty, question.whole))
            for maps in case.maps]


def scores_of(score, case):
    "One score of s8lib for each set of maps."
    question = case.question()
    return [score(question, maps) for maps in case.maps]


def in_torchcam(metric, case, **options):
    "The summary of each set of maps."
    summaries = []
    for maps in case.maps:
        scorer = metric(Given(case.model, maps), partial(torch.softmax, dim=-1), **options)
        scorer.update(case.images, case.targets.tolist())
        summaries.append(scorer.summary())
    return summaries


def torchcam_curves(case, baseline=None):
    "Both curves of torchcam."
    metric = torchcam.metrics.DeletionInsertionMetric
    return in_torchcam(metric, case, steps=STEPS, baseline=baseline, batch_size=256)


def torchcam_two_starts(case):
    "Deletion to the mean colour, insertion from the blurred image: a call for each."
    return torchcam_curves(case), torchcam_curves(case, blur)


def in_grad_cam(metrics, case):
    "A list of values for each set of maps and each metric."
    targets = [ClassifierOutputSoftmaxTarget(target) for target in case.targets.tolist()]
    def values(maps): return [metric(case.images, maps.numpy(), targets, case.model) for metric in metrics]
    return [values(maps) for maps in case.maps]


def in_quantus(metric, case, **options):
    "What the metric says of each set of maps."
    arrays = dict(x_batch=case.images.numpy(), y_batch=case.targets.numpy(), channel_first=True,
                  batch_size=len(case.images), **options)
    return [metric(model=case.model, a_batch=maps.numpy()[:, None], **arrays) for maps in case.maps]


def pixel_flipping(case):
    "The deletion curve of Quantus, without its first point."
    pixels = case.images[0].numel() // STEPS
    flip = quantus.PixelFlipping(features_in_step=pixels, perturb_baseline=0., **QUIET)
    return in_quantus(flip, case, softmax=True)


SCORES = {
    'deletion and insertion, each with its own start': {'s8lib': own_starts, 'torchcam': torchcam_two_starts},
    'deletion and insertion, the same start': {'s8lib': same_start, 'torchcam': torchcam_curves},
    'deletion': {'s8lib': partial(scores_of, deletion),
                 'torchcam': torchcam_curves,
                 'quantus': pixel_flipping},
    'drop and increase': {'s8lib': partial(scores_of, drop_and_increase),
                          'torchcam': partial(in_torchcam, torchcam.metrics.ClassificationMetric),
                          'grad-cam': partial(in_grad_cam, [DropInConfidence(), IncreaseInConfidence()])},
    'ROAD': {'s8lib': partial(scores_of, road),
             'grad-cam': partial(in_grad_cam, [ROADCombined(PERCENTILES)])},
}


def make_case(num_images, width):
    "Grey drawn shapes, since Quantus counts each channel of a pixel, a network with random weights, maps."
    torch.manual_seed(0)
    model = resnet18(in_channels=1, width=width).eval()
    with torch.no_grad(): model.head.linear.weight *= 300  # probabilities that move
    drawn = shapes('test', num_images)
    images = torch.as_tensor(drawn.images).float().mean(3)[:, None] / 128 - 1
    with torch.no_grad(): logits = model(images)
    targets = logits.argmax(1)
    maps = [make_maps(images) for make_maps in BASELINES.values()]
    maps += [cam(model, images, targets, 'features', method).upsample(32)[:, 0] for method in METHODS]
    return Case(model, images, targets, logits, maps, torch.as_tensor(drawn.masks))


def forwards(run, case):
    "Images through the network for each image and map."
    counts = []
    with case.model.register_forward_hook(lambda module, args, output: counts.append(len(output))): run(case)
    return sum(counts) / len(case.images) / len(case.maps)


def count_forwards(case):
    "A row of forwards for each score."
    rows = []
    for score, libraries in SCORES.items():
        alone = [forwards(libraries['s8lib'], single) for single in case.alone()]
        counts = {library: forwards(run, case) for library, run in libraries.items()}
        shares = {f"share of {library}'s": counts['s8lib'] / count
                  for library, count in counts.items() if library != 's8lib'}
        rows.append({'score': score, 's8lib alone': sum(alone) / len(alone), **counts, **shares})
    return rows


def measure_times(case, repeats):
    "A row of median milliseconds for each image and map, of three maps, for each score."
    few = replace(case, maps=case.maps[:3])
    scale = 1000 / len(few.images) / len(few.maps)
    rows = []
    for score, libraries in SCORES.items():
        seconds = median_seconds({library: partial(run, few) for library, run in libraries.items()}, repeats)
        milliseconds = {f'{library}, ms': value * scale for library, value in seconds.items()}
        rows.append(dict(score=score) | milliseconds)
        print(rows[-1], flush=True)
    return rows


def largest(values, expected):
    "Largest difference."
    return (torch.as_tensor(values).double() - torch.as_tensor(expected).double()).abs().max().item()


def measure_agreement(case):
    "Largest differences, on maps without two equal pixels where the order counts."
    noise = torch.rand(case.images[:, 0].shape, generator=torch.Generator().manual_seed(0))
    mixed = noise.flatten(1).argsort(1)
    heat = mixed.unflatten(1, (32, 32)) / mixed.shape[1]
    ordered = replace(case, maps=[heat])
    differences = (compare_curves(ordered) | compare_removals(ordered) |
                   compare_places(replace(case, maps=case.maps[-1:])) | compare_randomization(case))
    return [{'score': name, 'largest difference': value, 'definition': DIFFERENCES.get(name, 'the same')}
            for name, value in differences.items()]


def compare_curves(case):
    "Differences of deletion and insertion."
    (deleted, inserted), = own_starts(case)
    question = case.question()
    curve = replacement_curve(question, case.maps[0], question.whole, question.empty, STEPS)
    same, blurred = torchcam_two_starts(case)
    return {'torchcam deletion': largest(same[0]['deletion_auc'], deleted.mean()),
            'torchcam insertion': largest(blurred[0]['insertion_auc'], inserted.mean()),
            'quantus pixel flipping': largest(pixel_flipping(case)[0], curve[:, 1:])}


def compare_removals(case):
    "Differences of drop, increase and ROAD."
    (drop, rose), = scores_of(drop_and_increase, case)
    summary, = in_torchcam(torchcam.metrics.ClassificationMetric, case)
    (drops, roads), = in_grad_cam([DropInConfidence(), ROADCombined(PERCENTILES)], case)
    return {'torchcam drop': largest(summary['avg_drop'], drop.mean()),
            'torchcam increase': largest(summary['conf_increase'], rose.float().mean()),
            'grad-cam drop': largest(drops, drop * case.question().whole.scores),
            'grad-cam ROAD': largest(roads, scores_of(road, case)[0])}


def compare_places(case):
    "Differences of what knows where the object is."
    metrics = quantus.PointingGame, quantus.RelevanceMassAccuracy
    masks = case.masks.numpy()[:, None]
    hit, inside = (in_quantus(metric(**QUIET), case, s_batch=masks)[0] for metric in metrics)
    return {'quantus pointing game': largest(np.float32(hit), hits(case.maps[0], case.masks).float()),
            'quantus relevance mass': largest(inside, energy_inside(case.maps[0], case.masks))}


def quantus_cascade(case, similarity):
    "Quantus' similarities by layer; the map has the size of the image."
    def explain(model, inputs, targets, **options):
        return cam(model, torch.as_tensor(inputs), torch.as_tensor(targets), 'stem', 'hirescam').maps.numpy()
    metric = quantus.MPRT(similarity_func=similarity, layer_order='top_down', seed=0, **QUIET)
    arrays = dict(x_batch=case.images.numpy(), y_batch=case.targets.numpy(), channel_first=True, batch_size=4)
    with torch.random.fork_rng(): layers = metric(model=case.model, explain_func=explain, **arrays)
    return {name: list(values) for name, values in layers.items() if name != 'original'}


def compare_randomization(case):
    "Quantus' cascade with its own similarity and with ours, and its first layer beside ours."
    few = replace(case, images=case.images[:4], targets=case.targets[:4], logits=None)
    def ours(first, second, batched):
        return rank_correlation(torch.as_tensor(first), torch.as_tensor(second)).numpy()
    theirs = quantus_cascade(few, quantus.similarity_func.correlation_spearman)
    same = quantus_cascade(few, ours)
    cascade = randomization(few.question(), 'stem', 'hirescam', seed=1)  # Quantus adds 1 to its seed
    if list(cascade) != list(theirs): raise ValueError('Quantus randomizes other layers')
    first = next(iter(cascade))
    return {'quantus MPRT, similarity': largest(list(theirs.values()), list(same.values())),
            'quantus MPRT, first layer': largest(np.mean(theirs[first]), cascade[first])}


def third_or_less(counts):
    "The scores that take a third of somebody's forwards or less."
    pairs = [(row, library) for row in counts for library in ('torchcam', 'quantus', 'grad-cam')]
    return [f"{row['score']} beside {library}" for row, library in pairs
            if row['s8lib'] <= row.get(library, 0) / 3]


def page(setting, counts, times, agreement):
    "All of it in Markdown, by paragraph."
    curves, _, _, little, removed = counts
    ours = curves['s8lib'] + 1 + removed['s8lib']
    theirs = curves['torchcam'] + little['torchcam'] + removed['grad-cam']
    return [
        '# Scores of maps, side by side',
        f"ResNet-18 of s8lib, {setting['width']} channels wide, random weights, 32x32, one channel. "
        f'{words(setting)}.',
        '## Images through the network', NOTE, table(counts),
        f"A third or less: {', '.join(third_or_less(counts)) or 'nothing'}. " + WHY,
        f'All scores of a map together take {ours:.1f} forwards an image, the logits being known, and '
        f'{theirs:.0f} with torchcam for the curves and the drop and grad-cam for ROAD.',
        '## Time', TIMES, table(times), '## Agreement', AGREEMENT, table(agreement)]


@call_parse
def main(
    images: int = 4,  # drawn shapes
    width: int = 8,  # channels of the stem of the ResNet-18
    repeats: int = 5,  # of which the median is taken
    out: Path = RESULTS,  # folder of the results
):
    "The scores of s8lib.faithfulness beside torchcam, grad-cam and Quantus: forwards, time, agreement."
    torch.set_num_threads(1)
    load = round(os.getloadavg()[0], 1)
    case = make_case(images, width)
    machine = describe('cpu', 'grad-cam', 'torchcam', 'quantus')
    setting = {'load at the start': load, 'images': images, 'width': width, 'maps': len(case.maps),
               'repeats': repeats, 'machine': machine}
    counts = count_forwards(case)
    times = measure_times(case, repeats)
    agreement = measure_agreement(case)
    result = dict(setting=setting, forwards=counts, time=times, agreement=agreement)
    print(write_result('faithfulness-cpu', result, page(setting, counts, times, agreement), out))
