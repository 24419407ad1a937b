"""Plant changed copies of training images among the test images, and look for them.

    python benchmarks/twins.py --folder IMAGES --weights W.pt --width 16

IMAGES holds `train/<class>/<image>` and `test/<class>/<image>`; without it only the drawn shapes are
searched, and without weights the row of a network's features is left out.

The copies are made by this file's own code, with numbers of its own. A pair of a copy and its original is
right, a pair of a copy and another training image is wrong; pairs of untouched test images cannot be judged
and are counted. Every method names up to three training images for a test image, those above a threshold
that was chosen on training images alone: s8lib's own by `draw_line`; for the others the threshold with the
best F1 on such copies of training images.
"""
import hashlib
import io
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from fastcore.script import call_parse
from PIL import Image, ImageEnhance
from shared import RESULTS, describe, table, words, write_result

from s8lib.core import keyed_generator
from s8lib.data import ImageSet, channel_stats
from s8lib.image_folder import image_folder
from s8lib.models.resnet import resnet18
from s8lib.neighbours import embed, nearest
from s8lib.shapes import shapes
from s8lib.twins import CANDIDATES, find_twins, planted_copies


def compressed(image: Image.Image, random: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, 'JPEG', quality=int(random.integers(30, 91)))
    return Image.open(file).convert('RGB')


def moved(image: Image.Image, random: np.random.Generator) -> Image.Image:
    "Shifted by one to four pixels along at least one side, the edge filled by its own pixels."
    steps = [(x, y) for x in range(-4, 5) for y in range(-4, 5) if x or y]
    x, y = steps[random.integers(len(steps))]
    padded = Image.fromarray(np.pad(np.asarray(image), ((4, 4), (4, 4), (0, 0)), 'edge'))
    return padded.crop((4 + x, 4 + y, 4 + x + image.width, 4 + y + image.height))


def brightened(image: Image.Image, random: np.random.Generator) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(random.uniform(.7, 1.4))


def all_three(image: Image.Image, random: np.random.Generator) -> Image.Image:
    return compressed(brightened(moved(image, random), random), random)


KINDS = {'compressed': compressed, 'moved': moved, 'brightened': brightened, 'all three': all_three}


def plant(
    train_set: ImageSet,  # whose images are copied
    test_set: ImageSet,  # to which the copies are added
    copies: int,  # of each kind
    seed: int,  # of choice and change
) -> tuple[ImageSet, np.ndarray]:  # the larger test set, and the places of the originals
    "Hide copies behind the images of a test set, the kinds in turn."
    random = keyed_generator(seed, *b'hidden')
    originals = random.choice(len(train_set), copies * len(KINDS), replace=False)
    changes = list(KINDS.values()) * copies
    hidden = [np.asarray(change(Image.fromarray(train_set.images[place]), random))
              for change, place in zip(changes, originals)]
    labels = np.concatenate([test_set.labels, train_set.labels[originals]])
    images = np.concatenate([test_set.images, np.stack(hidden)])
    return replace(test_set, images=images, labels=labels, names=(), masks=None), originals


# The methods: each gives pairs (training place, test place) and the threshold.

def by_twins(train_set: ImageSet, test_set: ImageSet, seed: int):
    twins = find_twins(train_set, test_set)
    return [(twin.train, twin.test) for twin in twins], f'{twins.line.similarity:.3f}'


def by_bytes(train_set: ImageSet, test_set: ImageSet, seed: int):
    "Equal bytes, up to as many training images as the other methods name."
    places = {}
    for place, image in enumerate(train_set.images):
        places.setdefault(hashlib.sha256(image.tobytes()).digest(), []).append(place)
    return [(place, number) for number, image in enumerate(test_set.images)
            for place in places.get(hashlib.sha256(image.tobytes()).digest(), [])[:CANDIDATES]], 'equal'


def difference_hashes(image_set: ImageSet) -> torch.Tensor:  # ±1 (N, 64)
    "dHash: whether each of 8×8 grey cells is brighter than its right neighbour."
    small = [np.asarray(Image.fromarray(image).convert('L').resize((9, 8), Image.Resampling.LANCZOS), int)
             for image in image_set.images]
    return torch.tensor(np.diff(np.stack(small), axis=2).reshape(-1, 64) > 0).float() * 2 - 1


def by_nearest(describe_images, train_set: ImageSet, test_set: ImageSet, seed: int):
    "The nearest by descriptors, below the distance that is best for copies of training images."
    places = np.sort(keyed_generator(seed, *b'line').permutation(len(train_set))[:400])
    practice = replace(train_set, images=planted_copies(train_set, places), labels=None, names=(), masks=None)
    bank = describe_images(train_set)
    own = nearest(describe_images(practice), bank, CANDIDATES)
    is_right = own.places == torch.tensor(places)[:, None]
    distances, order = own.distances.flatten().sort()
    right = is_right.flatten()[order].cumsum(0)
    f1 = 2 * right / (torch.arange(1, len(order) + 1) + len(places))
    limit = distances[f1.argmax()].item()
    found = nearest(describe_images(test_set), bank, CANDIDATES)
    rows, columns = (found.distances <= limit).nonzero(as_tuple=True)
    return list(zip(found.places[rows, columns].tolist(), rows.tolist())), f'{1 - limit:.3f}'


def judge(
    pairs: list[tuple],  # (training place, test place)
    originals: np.ndarray,  # places of the copies' originals
    num_untouched: int,  # test images before the copies
) -> tuple[np.ndarray, np.ndarray]:  # for each copy: whether it was found, and how many wrong images it got
    "What was found of each copy."
    found = np.zeros(len(originals), bool)
    wrong = np.zeros(len(originals), int)
    for train, test in pairs:
        if test < num_untouched: continue
        is_right = originals[test - num_untouched] == train
        found[test - num_untouched] |= is_right
        wrong[test - num_untouched] += not is_right
    return found, wrong


def interval(found: np.ndarray, wrong: np.ndarray, draws: int = 2000) -> tuple[str, str]:
    "Recall and precision with bootstrap intervals over the copies, 95%."
    drawn = keyed_generator(0, *b'bootstrap').integers(len(found), size=(draws, len(found)))
    hits = found[drawn].sum(1)
    values = dict(recall=(found.mean(), hits / len(found)),
                  precision=(found.sum() / max(1, found.sum() + wrong.sum()),
                             hits / np.maximum(1, hits + wrong[drawn].sum(1))))
    return tuple(f'{value:.3f} ({np.quantile(draw, .025):.3f}–{np.quantile(draw, .975):.3f})'
                 for value, draw in values.values())


def measure(name: str, method, train_set: ImageSet, test_set: ImageSet, copies: int, seed: int) -> dict:
    "One method on one set: a row of the table."
    crowded, originals = plant(train_set, test_set, copies, seed)
    start = time.perf_counter()
    pairs, threshold = method(train_set, crowded, seed)
    seconds = time.perf_counter() - start
    found, wrong = judge(pairs, originals, len(test_set))
    recall, precision = interval(found, wrong)
    unjudged = [pair for pair in pairs if pair[1] < len(test_set)]
    agreeing = sum(train_set.labels[train] == test_set.labels[test] for train, test in unjudged)
    kinds = {kind: float(found[number::len(KINDS)].mean()) for number, kind in enumerate(KINDS)}
    row = {'method': name, 'threshold': threshold, 'recall': recall, 'precision': precision, **kinds,
           'wrong pairs': int(wrong.sum()), 'other pairs': len(unjudged),
           'of these labels agree': int(agreeing), 'seconds': round(seconds, 1)}
    print(row, flush=True)
    return row


def features_of(weights: Path, width: int):
    "A function that describes images by the features of a network."
    model = resnet18(width=width)
    model.load_state_dict(torch.load(weights, weights_only=True))
    return lambda image_set: embed(model, image_set).features


@call_parse
def main(
    folder: Path = None,  # with train/<class>/<image> and test/<class>/<image>
    weights: Path = None,  # state of a ResNet-18 that was trained on the folder
    width: int = 16,  # of this network
    copies: int = 300,  # of each kind; a tenth of it in the drawn shapes
    seed: int = 0,  # of the planting
    name: str = 'twins',  # of the result
    out: Path = RESULTS,  # folder of the results
):
    "Recall and precision of planted copies, and the peers."
    methods = {'s8lib': by_twins, 'equal bytes': by_bytes,
               'dHash, 64 bits': partial(by_nearest, difference_hashes)}
    sets = {'shapes': (shapes('train'), shapes('test'), max(1, copies // 10))}
    if folder: sets['folder'] = (image_folder(folder, 'train'), image_folder(folder, 'test'), copies)
    else: print('no --folder: only the drawn shapes are searched')
    setting = dict(copies=copies, kinds=len(KINDS), seed=seed, threads=torch.get_num_threads(),
                   machine=describe('cpu'))
    result = dict(setting=setting)
    page = ['# Twins', f'{words(setting)}.', __doc__.split('\n\n')[-1].replace('\n', ' ').strip()]
    for title, (train_set, test_set, count) in sets.items():
        stats = channel_stats(train_set)
        train_set, test_set = train_set.with_stats(stats), test_set.with_stats(stats)
        tried = dict(methods)
        if weights and title == 'folder':
            method = f'features of a ResNet-18, width {width}'
            tried[method] = partial(by_nearest, features_of(weights, width))
        result[title] = [measure(method, function, train_set, test_set, count, seed)
                         for method, function in tried.items()]
        page += [f'## {title}: {len(train_set):,} training and {len(test_set):,} test images, '
                 f'{count * len(KINDS):,} copies', table(result[title])]
    print(write_result(name, result, page, out))
