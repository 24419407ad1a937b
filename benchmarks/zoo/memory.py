"""Memory over 10,000 maps and over 1,000 different models: what grows, and what is left hooked.

The anchors are jacobgil/pytorch-grad-cam #78, #132 and #195, where memory grew with every call.
"""
import ctypes
import gc
import tracemalloc
from pathlib import Path

import torch
from torch import nn

from s8lib.gradcam import METHODS, cam, contrast

MEBIBYTE = 2**20


def resident() -> int:
    "Bytes of this process that are in memory, after the garbage is collected and given back."
    gc.collect()
    ctypes.CDLL('libc.so.6').malloc_trim(0)
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith('VmRSS'))


def classifier(seed: int, width: int = 6) -> nn.Module:
    "A small classifier with a BatchNorm, a shortcut and an in-place ReLU."
    torch.manual_seed(seed)
    class Residual(nn.Module):
        "Adds what it makes of its input to it, in place."
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width))

        def forward(self, x):
            out = self.body(x)
            out += x
            return out.relu_()

    return nn.Sequential(nn.Conv2d(3, width, 3, stride=2, padding=1), Residual(), nn.AvgPool2d(2),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5)).train()


def hooks_of(model: nn.Module) -> int:
    "Hooks on all modules and weights."
    return sum(len(hooks or ()) for module in model.modules()
               for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)) + sum(
                   len(weight._backward_hooks or ()) for weight in model.parameters())


def one_model(count: int) -> int:
    "Maps of one model in calls of 50 images by all methods and by contrast; the hooks that are left."
    model = classifier(0)
    images = torch.randn(50, 3, 34, 34)
    targets = torch.arange(50) % 5
    made = 0
    quick = [method for method in METHODS if method not in ('scorecam', 'ablationcam')]
    while made < count:
        for method in quick:
            cam(model, images, targets, method=method)
            made += len(images)
        contrast(model, images, torch.stack([targets, (targets + 1) % 5], 1))
        for method in ('scorecam', 'ablationcam'): cam(model, images[:2], targets[:2], method=method)
        made += len(images) + 4
    return hooks_of(model)


def many_models(count: int) -> int:
    "Maps of as many models, each made anew; the hooks that are left on them."
    left = 0
    for seed in range(count):
        model = classifier(seed, width=4 + seed % 5)
        cam(model, torch.randn(2, 3, 34, 34), [0, 1])
        left += hooks_of(model)
    return left


def growth(work, count: int, warm: int) -> dict:
    "What a number of maps or models adds after a warm-up; traced in a part of its own, since that is slow."
    hooks = work(warm)
    objects = len(gc.get_objects())
    before = resident()
    hooks += work(count)
    after = resident()
    row = {'count': f'{count:,}', 'resident, MiB more': (after - before) / MEBIBYTE,
           'objects more': str(len(gc.get_objects()) - objects)}
    tracemalloc.start()
    hooks += work(count // 20)
    gc.collect()
    traced = tracemalloc.get_traced_memory()[0]
    hooks += work(count // 5)
    gc.collect()
    row |= {'of these traced': f'{count // 5:,}', 'hooks left': str(hooks),
            'traced, MiB more': (tracemalloc.get_traced_memory()[0] - traced) / MEBIBYTE}
    tracemalloc.stop()
    return row


def measure_memory() -> dict:
    "Rows of the table, and what is too much."
    torch.set_num_threads(1)
    rows = [{'of': 'maps of one model'} | growth(one_model, 10_000, 4_000),
            {'of': 'different models'} | growth(many_models, 1_000, 400)]
    failures = [f"{row['of']}: {row['resident, MiB more']:.2f} MiB more, {row['hooks left']} hooks"
                for row in rows if max(row['resident, MiB more'], row['traced, MiB more']) > 1
                or row['hooks left'] != '0']
    return dict(rows=rows, failures=failures)
