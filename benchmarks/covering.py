"""Does a mistake hang on the tenth of the image that spoke for the wrong class? Maps and chance side by side.

    python benchmarks/covering.py --run RUN_FOLDER                          # a run with its images
    python benchmarks/covering.py --folder IMAGES --weights FILE --width 16 # a state dict of our ResNet-18

IMAGES holds train/<class>/* and test/<class>/*. The maps are compared on mistakes on training images, where
the settings of `s8lib.covering` were chosen; the test set is asked once, with the chosen settings.
"""
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from fastcore.script import call_parse
from shared import RESULTS, describe, seconds_of, table, words, write_result

from s8lib.core import OptionError
from s8lib.covering import STEPS, cover_test, highest, spoke_for
from s8lib.imputation import impute
from s8lib.gradcam import contrast, upsampled
from s8lib.main import open_run
from s8lib.options import Options, load_splits, make_model
from s8lib.predictions import predict
from s8lib.scores import contrast_score
from s8lib.transforms import model_inputs

LAYERS = {'8x8': 'features', '16x16': 'features.1', '32x32': 'stem'}  # of our ResNet at 32x32 pixels
NOTE = (
    '*True* is the share of mistakes after which the network gives the true class, with the tenth of the '
    'image filled that spoke most for the wrong class, by the imputation of ROAD; 95% intervals by a '
    'bootstrap over images. *Moved* is the same part moved and mirrored, *of others* the part of another '
    'image, *scattered* a tenth of the pixels, each drawn ten times. *Third class* is how often the same, '
    'aimed at the likeliest class that is neither predicted nor true, gives that class; *right images* how '
    'often it turns a right answer into the runner-up. The labels are those of the folders.')


def by_layer(name, method, model, images, pairs):
    "The contrast map of a layer, before the ReLU."
    return upsampled(contrast(model, images, pairs, LAYERS.get(name), method).signed, images.shape[2:])[:, 0]


def around(values, width):
    "Each pixel as the mean of a square around it."
    return F.avg_pool2d(values, width, 1, width // 2, count_include_pad=False)


def details(width, model, images, pairs):
    "Gradient times details, as the mean over patches of a width; of width 3 as in `detail_maps`."
    images = images.clone().requires_grad_()
    gradient, = torch.autograd.grad(contrast_score(model(images), pairs).sum(), images)
    images = images.detach()
    return around((gradient * (images - around(images, 5))).sum(1, keepdim=True), width)[:, 0]


def in_steps(steps, maps, model, images, pairs):
    "The highest tenth, found in several steps."
    masks = torch.zeros_like(images[:, 0], dtype=torch.bool)
    for step in range(1, steps + 1):
        values = maps(model, impute(images, masks, noise=0), pairs)
        masks = highest(values.masked_fill(masks, torch.inf), .1 * step / steps)
    return masks


IDEAS = {
    'Grad-CAM, 8x8': partial(in_steps, 1, partial(by_layer, '8x8', 'gradcam')),
    'HiResCAM, 8x8': partial(in_steps, 1, partial(by_layer, '8x8', 'hirescam')),
    'HiResCAM, 16x16': partial(in_steps, 1, partial(by_layer, '16x16', 'hirescam')),
    'HiResCAM, 32x32': partial(in_steps, 1, partial(by_layer, '32x32', 'hirescam')),
    'RefineCAM': partial(in_steps, 1, partial(by_layer, 'chosen', 'refinecam')),
    'RefineCAM, four steps': partial(in_steps, 4, partial(by_layer, 'chosen', 'refinecam')),
    'details, pixels': partial(in_steps, 1, partial(details, 1)),
    'details, 3x3': partial(in_steps, 1, partial(details, 3)),
    'details, pixels, four steps': partial(in_steps, 4, partial(details, 1)),
    'details, 5x5, four steps': partial(in_steps, 4, partial(details, 5)),
    f'details, 3x3, {STEPS} steps (cover_test)': spoke_for}


@torch.no_grad()
def answers(model, images, masks):
    "The class of each image with a part filled."
    return torch.cat([model(part).argmax(1) for part in impute(images, masks, noise=0).split(250)])


def interval(values, seed=0):
    "A mean with its 95% interval, by 2,000 bootstrap samples of the images."
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randint(len(values), (2000, len(values)), generator=generator)
    low, high = values.float()[samples].mean(1).quantile(torch.tensor([.025, .975])).tolist()
    return f'{values.float().mean():.1%} ({low:.1%} to {high:.1%})'


def of_others(model, images, masks, true):
    "Share of trials (M,) that give the true class with the part of another image filled."
    orders = [torch.randperm(len(masks), generator=torch.Generator().manual_seed(draw)) for draw in range(10)]
    return torch.stack([answers(model, images, masks[order]) == true for order in orders]).float().mean(0)


def scattered(model, images, true):
    "Share of trials (M,) that give the true class with random pixels filled."
    trials = []
    for draw in range(10):
        noise = torch.rand(images[:, 0].shape, generator=torch.Generator().manual_seed(draw))
        trials.append(answers(model, images, highest(noise)) == true)
    return torch.stack(trials).float().mean(0)


def some_of(image_set, num_images, seed):
    "Some images of a set, drawn with a seed."
    order = torch.randperm(len(image_set), generator=torch.Generator().manual_seed(seed))
    return image_set.subset(order[:num_images].sort().values.numpy())


def chosen_places(correct, wanted, most, seed):
    "Some of the places where an answer is right, or is wrong."
    places = (correct == wanted).nonzero().flatten()
    return places[torch.randperm(len(places), generator=torch.Generator().manual_seed(seed))[:most]]


def compare(model, image_set, most, seed):
    "A row for each idea, on mistakes on training images."
    predictions = predict(model, image_set)
    wrong = chosen_places(predictions.correct, False, most, seed)
    right = chosen_places(predictions.correct, True, most, seed)
    logits = predictions.logits[wrong]
    pairs = torch.stack([predictions.predicted[wrong], predictions.labels[wrong]], 1)
    third = torch.stack([pairs[:, 0], logits.scatter(1, pairs, -torch.inf).argmax(1)], 1)
    runner_up = predictions.logits[right].topk(2).indices
    mistakes = model_inputs(image_set, wrong)
    rights = model_inputs(image_set, right)
    rows = []
    for name, part in IDEAS.items():
        masks = part(model, mistakes, pairs)
        row = {'map': name, 'true': interval(answers(model, mistakes, masks) == pairs[:, 1])}
        row['of others'] = interval(of_others(model, mistakes, masks, pairs[:, 1]))
        row['third class'] = interval(answers(model, mistakes, part(model, mistakes, third)) == third[:, 1])
        turned = answers(model, rights, part(model, rights, runner_up)) == runner_up[:, 1]
        rows.append(row | {'right images': interval(turned)})
        print(rows[-1], flush=True)
    return rows, len(wrong), predictions.accuracy


def confirm(model, image_set, most, seed):
    "The chosen way and the plain contrast map, on mistakes on test images."
    predictions = predict(model, image_set)
    wrong = chosen_places(predictions.correct, False, most, seed)
    pairs = torch.stack([predictions.predicted[wrong], predictions.labels[wrong]], 1)
    images = model_inputs(image_set, wrong)
    tests = []
    seconds = seconds_of(lambda: tests.append(cover_test(model, image_set, wrong, pairs)))
    test, = tests
    chance = {'scattered': interval(scattered(model, images, pairs[:, 1]))}
    rows = [{'map': 'cover_test', 'true': interval(test.covered), 'moved': interval(test.random),
             'of others': interval(of_others(model, images, test.masks, pairs[:, 1])), **chance,
             'third class': interval(test.other)}]
    for name in ('Grad-CAM, 8x8', 'HiResCAM, 8x8'):
        masks = IDEAS[name](model, images, pairs)
        rows.append({'map': name, 'true': interval(answers(model, images, masks) == pairs[:, 1]),
                     'of others': interval(of_others(model, images, masks, pairs[:, 1])), **chance})
    return rows, test, predictions.accuracy, seconds


def subject(folder, run, weights, width):
    "The network, and its training and test images. Raises `OptionError` where they are not said."
    if run:
        opened = open_run(run, data_dir=folder, load_images=True)
        return opened.model.eval(), opened.train, opened.test
    if not (folder and weights): raise OptionError('give --run, or --folder and --weights')
    options = Options('folder', data_dir=folder, width=width, progress=False).filled()
    train_set, _, test_set = load_splits(options)
    model = make_model(options, train_set)
    model.load_state_dict(torch.load(weights, map_location='cpu', weights_only=True))
    return model.eval(), train_set, test_set


@call_parse
def main(
    folder: str = None,  # of the images
    run: str = None,  # the folder of a run
    weights: str = None,  # a file with a state dict of our ResNet-18, in place of a run
    width: int = 16,  # channels of its stem
    num_images: int = 5000,  # training images and test images that are asked
    num_mistakes: int = 300,  # of each that are tested at most
    seed: int = 0,  # of the images and mistakes that are drawn
    out: Path = RESULTS,  # folder of the results
):
    "How often covering what spoke for the wrong class gives the true class, with several maps and by chance."
    torch.set_num_threads(1)
    model, train_set, test_set = subject(folder, run, weights, width)
    rows, num_wrong, train_accuracy = compare(model, some_of(train_set, num_images, seed), num_mistakes, seed)
    tested, test, accuracy, seconds = confirm(model, some_of(test_set, num_images, seed), num_mistakes, seed)
    setting = {'training mistakes': num_wrong, 'test mistakes': len(test), 'seed': seed, 'width': width,
               'network': Path(run or weights).name, 'training accuracy': round(train_accuracy, 4),
               'test accuracy': round(accuracy, 4), 'seconds of cover_test': round(seconds, 1),
               'machine': describe('cpu')}
    page = ['# Covering what spoke for the wrong class', f'{words(setting)}.', NOTE,
            '## Mistakes on training images, where the settings were chosen', table(rows),
            '## Mistakes on test images, asked once', test.sentence(), table(tested)]
    print(write_result('covering-cpu', dict(setting=setting, training=rows, test=tested), page, out))
