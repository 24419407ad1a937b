"""Which maps RefineCAM refines, and how it joins them: chosen on drawn training images, never on test images.

    python benchmarks/refinement.py                     # trains a narrow network on the drawn shapes first
    python benchmarks/refinement.py --run RUN_FOLDER    # of such a training

The images are drawn like those of the training, with another seed. Each kind of map is made at all layers
that all evidence goes through, up to the deepest with a map larger than 7x7, and joined in several ways.
"""
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F
from fastcore.script import call_parse
from maps import run_on_shapes
from shared import RESULTS, describe, median_seconds, table, words, write_result

from s8lib.data import channel_stats
from s8lib.faithfulness import energy_inside, hits
from s8lib.gradcam import cam, choose_layer, join_cams, layer_cams, layers_on_path
from s8lib.main import open_run
from s8lib.memory import in_parts
from s8lib.methods import agreement
from s8lib.shapes import shapes
from s8lib.transforms import normalize

KINDS = 'gradcam', 'gradcam++', 'hirescam', 'xgradcam', 'layercam'
NEIGHBOURHOODS = 1, 3, 5  # width of the mean of each position and its neighbours
NOTE = ('Energy is the part of a map that is on the object, pointing the share of maps whose peak is there. '
        '*agreement* is the mean of RefineCAM, 1 / log mean exp(1 / x); *deepest* is the map to refine.')


def smooth(maps, width):
    "Each position as the mean of itself and its neighbours."
    return F.avg_pool2d(maps, width, 1, width // 2, count_include_pad=False)


def scaled(maps):
    "Maps (N, 1, h, w) at 32x32 with a peak of 1 (layers, N, 1, 32, 32)."
    large = [F.interpolate(layer_maps.relu(), size=(32, 32), mode='bilinear') for layer_maps in maps]
    peaks = [layer_maps.amax((2, 3), keepdim=True) for layer_maps in large]
    return torch.stack([layer_maps / peak.where(peak > 0, 1) for layer_maps, peak in zip(large, peaks)])


def harmonic(maps):
    "The harmonic mean of the layers; 0 where one is 0."
    return len(maps) / (1 / scaled(maps).clamp(min=1e-30)).sum(0)


WAYS = {
    'agreement': agreement, 'harmonic mean': harmonic, 'product': lambda maps: scaled(maps).prod(0),
    'minimum': lambda maps: scaled(maps).amin(0), 'mean': lambda maps: scaled(maps).mean(0),
    'deepest': lambda maps: scaled(maps[-1:])[0]}


def path_to_deepest(model, images):
    "The layers up to the one that `cam` takes."
    layers = layers_on_path(model, images)
    names = [layer.name for layer in layers]
    return layers[:names.index(choose_layer(model, images).name) + 1]


def maps_of(model, images, targets, layers, kind):
    "The maps of each layer, before the ReLU."
    def maps(part): return layer_cams(model, images[part], targets[part], layers, kind)
    return [join_cams(parts).signed for parts in zip(*in_parts(maps, len(images), batch_size=200))]


def measure(model, images, targets, masks):
    "A row for each kind of map and each way to join it."
    layers = path_to_deepest(model, images)
    rows = []
    for kind in KINDS:
        maps = maps_of(model, images, targets, layers, kind)
        for width, (way, join) in product(NEIGHBOURHOODS, WAYS.items()):
            joined = join([smooth(layer_maps, width) for layer_maps in maps])[:, 0]
            rows.append({'map': kind, 'mean of': f'{width}x{width}', 'joined by': way,
                         'energy': energy_inside(joined, masks).mean().item(),
                         'pointing': hits(joined, masks).float().mean().item()})
    return [layer.name for layer in layers], rows


@call_parse
def main(
    run: str = None,  # the folder of a run on the drawn shapes; trained anew without
    num_images: int = 500,  # drawn like the training images
    seed: int = 1,  # of these images; the training has 0
    repeats: int = 5,  # of the timing
    out: Path = RESULTS,  # folder of the results
):
    "Energy and pointing of maps joined along the path of all evidence."
    torch.set_num_threads(1)
    opened = open_run(run) if run else run_on_shapes('cpu')
    drawn = shapes('train', num_images, seed)
    images = normalize(drawn.images, channel_stats(shapes('train')))
    with torch.no_grad(): targets = opened.model.eval()(images).argmax(1)
    layers, rows = measure(opened.model, images, targets, torch.as_tensor(drawn.masks))
    few = images[:40], targets[:40], 'features'
    seconds = median_seconds({name: lambda name=name: cam(opened.model, *few, name)
                              for name in ('gradcam', 'refinecam')}, repeats)
    setting = {'images': num_images, 'seed': seed, 'layers': ', '.join(layers), 'machine': describe('cpu')}
    cost = (f"RefineCAM takes {seconds['refinecam'] / seconds['gradcam']:.2f} times as long as Grad-CAM of "
            f"`features` ({seconds['refinecam']:.2f} s and {seconds['gradcam']:.2f} s for 40 images).")
    paragraphs = ['# Refining maps, on training images', f'{words(setting)}.', NOTE, table(rows), cost]
    print(write_result('refinement-cpu', dict(setting=setting, rows=rows, seconds=seconds), paragraphs, out))
