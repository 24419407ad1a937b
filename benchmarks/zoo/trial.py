"""One model explained without naming a layer, and everything that is checked about it."""
import resource
import time
import warnings
from pathlib import Path

import torch
from torch import nn

from s8lib.core import S8Error
from s8lib.gradcam import cam

from .catalog import NUM_CLASSES, Entry, enliven
from .oracle import Judge, gradcam_by_loops

MEMORY = 6 * 2**30  # bytes that a trial may add
EXACT = 1e-6  # of the peak, in float64
ROUNDING = 1e-3  # of the peak, in float32; beyond it the map is made again in float64
SEES = 1e-4  # a spread of logits, as a fraction of the largest, below which a model sees nothing
PLACES = 1.03  # times the mean answer, of the quarter of the tokens whose quarter of the image is changed
MATTERS = 1e-6  # the same, below which it is rounding; nearly all are equal to the bit


def state(model: nn.Module) -> dict:
    "All that a visitor could change, by its kind."
    modules = list(model.modules())
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in modules]
    tensors = [*model.parameters(), *model.buffers()]
    return {'modes': [m.training for m in modules], 'hooks': hooks,
            'attributes': [sorted(vars(m)) for m in modules],
            'values': [(id(t), t._version, t.data_ptr(), t.double().sum().item()) for t in tensors],
            'requires_grad': [t.requires_grad for t in tensors],
            'grad': [(id(t.grad), t.grad._version) if t.grad is not None else None for t in tensors]}


def make(entry: Entry, seed: int) -> tuple:  # the model in the middle of a training, images, targets
    "A model, two images of noise and three classes for each."
    torch.manual_seed(seed)
    model, sizes = entry.make()
    for size in sizes:
        try: enliven(model, torch.randn(4, 3, size, size))
        except (RuntimeError, AssertionError):
            if size == sizes[-1]: raise
        else: break
    first, *_, last = model.parameters()
    last.grad = torch.ones_like(last)
    first.requires_grad_(False)
    targets = torch.stack([torch.randperm(NUM_CLASSES)[:3] for _ in range(2)])
    return model, torch.randn(2, 3, size, size), targets


def explain(model, images, targets, **request) -> tuple:  # the `Cams` or None, and facts
    "The library's answer, or the name of its error."
    before = state(model)
    try:
        cams = cam(model, images, targets, **request)
        facts = dict(outcome='made')
    except S8Error as error:
        cams = None
        facts = dict(outcome='refused', error_name=type(error).__name__, message=str(error)[:400])
    except Exception as error:
        cams = None
        facts = dict(outcome='crashed', error_name=type(error).__name__, message=str(error)[:400])
    after = state(model)
    facts['traces'] = [kind for kind in before if before[kind] != after[kind]]
    return cams, facts


def difference(maps, truth) -> float:
    "The largest difference."
    return (maps.double() - truth).abs().max().item()


def judge_map(judge: Judge, cams, images, targets, **request) -> dict:
    "A map of the second image, if possible one that is not blank, against differences and loops."
    size = tuple(cams.maps.shape[2:])
    image = images[1:].double()
    which = int(cams.blank[1].int().argmin())
    target = targets[1, which].item()
    judge.double(image)
    output, gradient, _ = judge.gradient(image, target)
    truth, terms = gradcam_by_loops(output, gradient, size)
    facts = dict(gradient_error=judge.gradient_error(image, target, size), shape=list(output.shape))
    judge.release()
    made = cams.maps[1, which]
    facts |= dict(blank=bool(cams.blank[1, which]), truly_blank=truth.max().item() <= 1e-9 * terms)
    unit = max(terms, 1e-300) if facts['truly_blank'] else truth.max().item()
    facts |= dict(error=difference(made, truth) / unit)
    if facts['error'] > ROUNDING:
        exact = cam(judge.model, images.double(), targets, **request)
        facts |= dict(exact_layer=exact.layer, exact_error=difference(exact.maps[1, which], truth) / unit)
    return facts


def verdict(facts: dict) -> str:
    "One word, or some, for what came out."
    if facts['outcome'] != 'made': return facts['outcome']
    if facts['traces']: return 'trace left'
    if facts['calls'] != 1: return 'called more than once'
    if facts['spread'] <= SEES * facts['scale']: return 'model sees nothing'
    if facts['left'] > MATTERS * facts['scale']: return 'way round the layer'
    if facts['gradient_error'] > 1e-2: return 'oracle in doubt'
    if facts['error'] > ROUNDING and facts['exact_error'] > EXACT: return 'wrong'
    is_plain = 'x'.join(map(str, facts['shape'][2:])) == facts['map']  # (N, C, h, w): nothing was read
    if not is_plain and not facts['places'] > PLACES: return 'places in doubt'
    if facts['truly_blank']: return 'blank'
    return 'right' if facts['error'] <= ROUNDING else 'right, rounded'


def judged(model: nn.Module, images, targets, **request) -> dict:
    "Everything that is checked about a model, and the verdict."
    begun = time.perf_counter()
    cams, facts = explain(model, images, targets, **request)
    facts |= dict(seconds_cam=time.perf_counter() - begun)
    if cams is not None:
        facts |= dict(layer=cams.layer, map=f'{cams.maps.shape[2]}x{cams.maps.shape[3]}',
                      blanks=int(cams.blank.sum()))
        judge = Judge(model, cams.layer)
        others = torch.randn(1, *images.shape[1:], generator=torch.Generator().manual_seed(2))
        facts |= judge.all_evidence(torch.cat([images, others]))
        if facts['calls'] == 1 and facts['left'] <= MATTERS * facts['scale']:
            facts |= dict(places=judge.place_agreement(images[1:], tuple(cams.maps.shape[2:])))
            facts |= judge_map(judge, cams, images, targets, **request)
    return facts | dict(verdict=verdict(facts))


def trial(entry: Entry, seed: int = 0) -> dict:
    "Everything about one model."
    torch.set_num_threads(1)
    warnings.filterwarnings('ignore')
    used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, -1))
    start = time.perf_counter()
    model, images, targets = make(entry, seed)
    facts = dict(library=entry.library, name=entry.name, size=images.shape[-1],
                 parameters=sum(weight.numel() for weight in model.parameters()))
    return facts | judged(model, images, targets) | dict(seconds=time.perf_counter() - start)
