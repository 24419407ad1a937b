"""The scores of `s8lib.faithfulness` for each kind of class activation map, on a trained network.

    python benchmarks/maps.py --run RUN_FOLDER                     # images where the run found them
    python benchmarks/maps.py --run RUN_FOLDER --data-dir FOLDER   # FOLDER/test/<class>/*
    python benchmarks/maps.py --shapes                             # a narrow network, trained on drawn shapes

Half of the images, or as many as there are, are mistakes of the network, and the map is of the class that
it predicts. A random map and a centre Gaussian are scored on the same images, and each score comes with the
standard error of its difference to the random map, image by image: a method that is not two of them away has
shown nothing. The files are written after each row. On the drawn shapes the place of the object is known, so
that the pointing game and the energy inside the object are scored too.
"""
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from fastcore.script import call_parse
from shared import RESULTS, describe, table, write_result

from s8lib.faithfulness import BASELINES, LOWER_IS_BETTER, Question, randomization, score_maps
from s8lib.gradcam import METHODS, cam
from s8lib.main import Run, open_run, train
from s8lib.transforms import normalize

SLOW = 'scorecam', 'ablationcam'  # a forward for each channel of each image
ERRORS = ('± is the standard error of the difference to the random map on the same images; a difference '
          'of less than two of them shows nothing. Randomization is the mean rank correlation with the '
          'map of the trained network while its layers lose their weights, from the last one down, on '
          '{cascade_images} of the images; it is left empty for ' + ' and '.join(SLOW) + ', which take a '
          'forward for each channel. Seconds are those of the maps alone.')
POINTING = (' Pointing is the share of maps whose peak is on the object, energy the part of the map that '
            'is on the object; the object covers {covered:.0%} of its image on average.')


@dataclass(frozen=True, eq=False)
class Case:
    "What is scored."
    run: Run  # trained
    chosen: torch.Tensor  # indices of test images
    question: Question  # of these images, and the class that the network predicts
    masks: torch.Tensor | None  # bool (N, H, W), true on the object, where known
    layer: str  # name of the layer

    def few(self, count):
        "A question about some of the images, evenly spaced."
        few = spread(torch.arange(len(self.chosen)), count).to(self.question.targets.device)
        return Question(self.run.model, self.question.images[few], self.question.targets[few])


def run_on_shapes(device):
    "A narrow ResNet-18, trained on the drawn shapes for a minute or two."
    with tempfile.TemporaryDirectory() as folder:
        return train('shapes', width=16, epochs=6, device=device, progress=False, runs_dir=folder)


def spread(indices, count):
    "`count` of these indices, evenly spaced."
    return indices[torch.linspace(0, len(indices) - 1, min(count, len(indices))).round().long()]


def choose_images(predictions, num_images):
    "Indices of as many mistakes as right answers, each evenly spaced over the set."
    wrong = spread((~predictions.correct).nonzero()[:, 0], num_images // 2)
    return torch.cat([wrong, spread(predictions.correct.nonzero()[:, 0], num_images - len(wrong))])


def make_case(run, num_images, layer):
    "Images of a run's test set, on the device of its model."
    device = next(run.model.parameters()).device
    chosen = choose_images(run.predictions, num_images)
    images = normalize(run.test.images[chosen.numpy()], run.test.stats).to(device)
    targets = run.predictions.predicted[chosen].to(device)
    masks = run.test.masks
    if masks is not None: masks = torch.as_tensor(masks[chosen.numpy()]).to(device)
    question = Question(run.model, images, targets, run.predictions.logits[chosen])
    return Case(run, chosen, question, masks, layer)


def make_maps(case, name):
    "Maps of a baseline or a method (N, H, W), and how many of them are blank."
    question = case.question
    if name in BASELINES: return BASELINES[name](question.images), 0
    cams = cam(question.model, question.images, question.targets, case.layer, name)
    return cams.upsample(question.images.shape[2:])[:, 0], int(cams.blank.sum())


def summary(scores, random):
    "Mean of each score, and the standard error of its difference to the random map's."
    errors = {name: (values - random[name]).std() / len(values) ** .5 for name, values in scores.items()}
    return {name: dict(mean=values.mean().item(), error=errors[name].item())
            for name, values in scores.items()}


def mean_correlation(question, layer, method):
    "The mean over the cascade of randomizations; None for a slow method, or a baseline."
    if method in SLOW or method not in METHODS: return None
    cascade = randomization(question, layer, method)
    return sum(cascade.values()) / len(cascade)


def score_all(case, methods, cascade_images):
    "Yield a row for each baseline and each method, as soon as its maps are scored."
    few = case.few(cascade_images)
    random = None
    for name in (*BASELINES, *methods):
        start = time.perf_counter()
        maps, blank = make_maps(case, name)
        seconds = time.perf_counter() - start
        scores = score_maps(case.question, maps, case.masks)
        random = random or scores
        similarity = mean_correlation(few, case.layer, name)
        row = dict(map=name) | summary(scores, random)
        yield row | dict(randomization=similarity, blank=blank, seconds=seconds)


def describe_case(case, data_name, cascade_images):
    "Everything that a reader needs to judge the scores."
    run, options = case.run, case.run.options
    setting = dict(
        model=options.model if options.width == 64 else f'{options.model}, {options.width} channels wide,',
        epochs=len(run.history), test_accuracy=run.history[-1]['test_accuracy'],
        data=data_name or ('drawn shapes' if options.dataset == 'shapes' else options.dataset),
        images=len(case.chosen), mistakes=int((~run.predictions.correct[case.chosen]).sum()),
        test_images=len(run.test), cascade_images=min(cascade_images, len(case.chosen)), layer=case.layer,
        machine=describe(case.question.targets.device))
    return setting if case.masks is None else setting | dict(covered=case.masks.float().mean().item())


def page_row(row):
    "A row of the page."
    def text(value):
        if not isinstance(value, dict): return '' if value is None else f'{value:.2f}'
        return f"{value['mean']:.3f}" + (f" ± {value['error']:.3f}" if row['map'] != 'random' else '')
    scores = {name: value for name, value in row.items() if name not in ('map', 'blank', 'seconds')}
    cells = {f'{name} ({"lower" if name in LOWER_IS_BETTER else "higher"})': text(value)
             for name, value in scores.items()}
    return dict(map=row['map']) | cells | dict(blank=str(row['blank']), seconds=f"{row['seconds']:.1f}")


def page(setting, rows):
    "The table in Markdown."
    machine = setting['machine']
    left_out = [method for method in METHODS if method not in [row['map'] for row in rows]]
    paragraphs = [
        f"{setting['model']} after {setting['epochs']} epochs on {setting['data']}, "
        f"test accuracy {setting['test_accuracy']:.2%} when it was trained. "
        f"{setting['images']} of {setting['test_images']:,} test images, {setting['mistakes']} of them "
        f"misclassified; the predicted class; layer `{setting['layer']}`. "
        f"s8lib {machine['s8lib']}, torch {machine['torch']}, Python {machine['python']}, "
        f"{machine.get('gpu', machine['processor'])}, threads: {machine['threads']}.",
        (ERRORS + (POINTING if 'covered' in setting else '')).format(**setting),
        table([page_row(row) for row in rows])]
    return paragraphs + ([f"Not measured here: {', '.join(left_out)}."] if left_out else [])


@call_parse
def main(
    run: str = None,  # the folder of a run
    shapes: bool = False,  # instead of a run: train a narrow network on the drawn shapes
    data_dir: str = None,  # where the images are now, if they have moved
    data_name: str = None,  # what to call these data in the result
    num_images: int = 40,  # of the test set, half of them misclassified
    cascade_images: int = 8,  # of these, for the randomization
    layer: str = 'features',  # name of the layer
    methods: str = ','.join(METHODS),  # names, separated by commas
    device: str = 'cpu',  # where it all runs
    name: str = None,  # of the result; by default maps-cpu, maps-shapes-cpu, maps-gpu or maps-shapes-gpu
    out: Path = RESULTS,  # folder of the results
):
    "Score each kind of map on a trained network."
    if (run is None) != shapes: raise SystemExit('--run: give the folder of a run, or --shapes and no run')
    opened = run_on_shapes(device) if shapes else open_run(run, data_dir, device)
    case = make_case(opened, num_images, layer)
    setting = describe_case(case, data_name, cascade_images)
    name = name or f'maps{"-shapes" * shapes}-{"gpu" if device.startswith("cuda") else "cpu"}'
    rows = []
    for row in score_all(case, methods.split(','), cascade_images):
        rows.append(row)
        write_result(name, dict(setting=setting, rows=rows), page(setting, rows), out)
        print(page_row(row), flush=True)
