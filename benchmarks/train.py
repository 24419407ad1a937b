"""Training speed of the same ResNet-18 beside plain PyTorch, Lightning and fastai, and the time to a run's first step.

    pip install -e '.[benchmark]'
    python benchmarks/train.py                       # drawn images, a CUDA GPU if there is one
    python benchmarks/train.py --data-dir FOLDER     # FOLDER/train/<class>/* and FOLDER/test/<class>/*

Everybody trains in one process, in turn within each round, each round starting with another one; rates are medians over the rounds
after a warm-up round. A library that is not installed is left out.
"""
import argparse
import json
import logging
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from s8lib.batches import make_train_loader
from s8lib.data import ChannelStats, ImageSet, channel_stats
from s8lib.datasets import load_dataset
from s8lib.engine import autocast, describe_machine, make_scaler, pick_compile, pick_device, pick_precision, place, seed_everything
from s8lib.models.resnet import resnet18
from s8lib.optimizers import make_optimizer
from s8lib.training import fit, train_epoch
from s8lib.transforms import Augmentation, albumentations_pipeline, normalize

LEARNING_RATE = .01
LIGHTNING_PRECISION = {torch.float32: '32-true', torch.bfloat16: 'bf16-mixed', torch.float16: '16-mixed'}
NUM_STARTS = 3

IMPORT_TORCH = 'import time, torch; print(time.time())'
FIRST_STEP = '''
import json, os, sys, time, torch
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

def mark():
    if torch.cuda.is_initialized(): torch.cuda.synchronize()
    print(time.time(), flush=True)

def before_forward(*call):
    first_forward.remove()
    mark()

def after_step(*call):
    mark()
    os._exit(0)

first_forward = register_module_forward_pre_hook(before_forward)
register_optimizer_step_post_hook(after_step)
from s8lib.main import train
train('folder', progress=False, **json.loads(sys.argv[1]))
'''


@dataclass(frozen=True, eq=False)
class Job:
    "What everybody trains, on what."
    train_set: ImageSet
    test_set: ImageSet
    stats: ChannelStats
    device: torch.device
    precision: torch.dtype
    batch: int
    width: int
    workers: int
    compiled: bool

    @property
    def steps(self): return math.ceil(len(self.train_set) / self.batch)

    @property
    def on_gpu(self): return self.device.type == 'cuda'


def precision_name(job): return str(job.precision).removeprefix('torch.')


def repeat(image_set, count):
    "`count` images, from the beginning again when there are fewer."
    return image_set.subset(np.arange(count) % len(image_set))


def new_model(job, compiled=False):
    "The same network with the same weights for everybody."
    seed_everything(0)
    model = place(resnet18(len(job.train_set.classes), job.train_set.images.shape[-1], job.width), job.device)
    if compiled: model.compile(dynamic=False)
    return model


def bare(job, model, optimizer):
    "As many steps as an epoch has, on one batch that is there already."
    scaler, sizes = make_scaler(job.device, job.precision), [min(job.batch, len(job.train_set) - start) for start in range(0, len(job.train_set), job.batch)]
    x = normalize(job.train_set.images[:job.batch], job.stats).to(job.device, memory_format=torch.channels_last)
    y = torch.from_numpy(job.train_set.labels[:job.batch]).to(job.device)
    def epoch(number):
        model.train()
        for size in sizes:
            with autocast(job.device, job.precision): logits = model(x[:size])
            loss = F.cross_entropy(logits.float(), y[:size])
            optimizer.zero_grad()
            scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update()
        return loss.item()
    return epoch


def ours(job, model, optimizer):
    "An epoch of s8lib, as `fit` runs it."
    loader, scaler = s8lib_loader(job), make_scaler(job.device, job.precision)
    def epoch(number):
        loader.set_epoch(number)
        return train_epoch(model, loader, optimizer, precision=job.precision, scaler=scaler)[0]
    return epoch


def s8lib_loader(job): return make_train_loader(job.train_set, job.stats, Augmentation(), job.batch, device=job.device)


class AugmentedImages(Dataset):
    "One image at a time through the Albumentations pipeline."
    def __init__(self, image_set, pipeline): self.image_set, self.pipeline = image_set, pipeline

    def __len__(self): return len(self.image_set)

    def __getitem__(self, index):
        image = self.pipeline(image=self.image_set.images[index])['image']
        return torch.from_numpy(image.transpose(2, 0, 1)), int(self.image_set.labels[index])


def plain_loader(job):
    "PyTorch's `DataLoader` as tutorials have it."
    pipeline = albumentations_pipeline(Augmentation(), job.stats, job.train_set.images.shape[1:3])
    return DataLoader(AugmentedImages(job.train_set, pipeline), job.batch, shuffle=True, num_workers=job.workers, pin_memory=job.on_gpu)


def plain(job, model, optimizer):
    "The loop that everybody writes."
    loader, scaler = plain_loader(job), make_scaler(job.device, job.precision)
    def epoch(number):
        model.train()
        total_loss = correct = 0
        for x, y in loader:
            x, y = x.to(job.device, non_blocking=True), y.to(job.device, non_blocking=True)
            optimizer.zero_grad()
            with autocast(job.device, job.precision):
                logits = model(x)
                loss = F.cross_entropy(logits, y)
            scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update()
            total_loss += loss.item() * len(y)
            correct += (logits.argmax(1) == y).sum().item() # the accuracy that such a loop prints
        return total_loss / len(loader.dataset)
    return epoch


def lightning(job, model, optimizer):
    "A `LightningModule` on the same `DataLoader`; each round is `Trainer.fit` for one epoch."
    import pytorch_lightning
    logging.getLogger('pytorch_lightning').setLevel(logging.ERROR)
    warnings.filterwarnings('ignore', module='pytorch_lightning')

    class Classifier(pytorch_lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = model

        def training_step(self, batch, batch_index):
            x, y = batch
            logits = self.model(x)
            loss = F.cross_entropy(logits, y)
            self.log_dict(dict(loss=loss, accuracy=(logits.argmax(1) == y).float().mean()), on_step=False, on_epoch=True)
            return loss

        def configure_optimizers(self): return optimizer

    module, loader = Classifier(), plain_loader(job)
    def epoch(number):
        trainer = pytorch_lightning.Trainer(accelerator='gpu' if job.on_gpu else 'cpu', devices=1, precision=LIGHTNING_PRECISION[job.precision],
                                            max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
        trainer.fit(module, loader)
        return trainer.callback_metrics['loss'].item()
    return epoch


def fastai_epoch(job, model, optimizer, loaders, loss_function):
    "Each round is `Learner.fit` for one epoch."
    from fastai.vision.all import Learner, OptimWrapper
    learner = Learner(loaders, model, loss_function, OptimWrapper(opt=optimizer))
    if job.precision == torch.bfloat16: learner.to_bf16()
    if job.precision == torch.float16: learner.to_fp16()
    def epoch(number):
        with learner.no_bar(), learner.no_logging(): learner.fit(1, LEARNING_RATE)
        return float(learner.recorder.losses[-1])
    return epoch


def fastai(job, model, optimizer):
    "fastai with its own blocks and transforms."
    from fastai.vision.all import CategoryBlock, CropPad, CrossEntropyLossFlat, DataBlock, ImageBlock, Normalize, RandomCrop, RandomErasing
    images, labels, classes, (height, width) = job.train_set.images, job.train_set.labels, job.train_set.classes, job.train_set.images.shape[1:3]
    wanted = Augmentation()
    share = wanted.cutout**2 / (height * width)
    block = DataBlock((ImageBlock, CategoryBlock(vocab=classes)), get_x=lambda index: images[index], get_y=lambda index: classes[labels[index]],
                      splitter=lambda items: (range(len(items)), []),
                      item_tfms=[CropPad((height + 2 * wanted.padding, width + 2 * wanted.padding)), RandomCrop((height, width))],
                      batch_tfms=[Normalize.from_stats(job.stats.mean, job.stats.std, cuda=job.on_gpu), RandomErasing(1., share, share, 1.)])
    loaders = block.dataloaders(range(len(images)), bs=job.batch, drop_last=False, num_workers=job.workers, device=job.device)
    return fastai_epoch(job, model, optimizer, loaders, CrossEntropyLossFlat())


def fastai_on_loader(job, model, optimizer):
    "fastai's `Learner` on the same `DataLoader` as plain PyTorch."
    from fastai.vision.all import DataLoaders
    return fastai_epoch(job, model, optimizer, DataLoaders(plain_loader(job), []), nn.CrossEntropyLoss())


CONTENDERS = {
    'bare step': (bare, 'forward, cross-entropy, backward and optimizer step on one resident batch in the channels-last layout: no data work, no accounting.'),
    's8lib': (ours, "`train_epoch` on `make_train_loader`, executor 'batched': order, augmentation of whole batches on the training device, step, loss, "
                    'accuracy and the check for a diverged run.'),
    'PyTorch': (plain, 'a `DataLoader` with the same augmentation as an Albumentations pipeline per image, a loop with `.item()` for loss and accuracy.'),
    'Lightning': (lightning, '`Trainer(...)` and `Trainer.fit` for one epoch on that `DataLoader`, loss and accuracy logged per epoch. Logger, checkpoints, '
                             'bar and model summary are off, which is its best case.'),
    'fastai': (fastai, "`Learner.fit(1)` with fastai's own blocks and transforms, which is how it is used: pad and random crop per image as PIL, "
                       'normalization and `RandomErasing` per batch on the device. It erases one square of noise for the whole batch, which is less work than '
                       'a square per image. Images come from memory, where `from_folder` would decode them again in each epoch. Loss only; bar and log are off.'),
    'fastai on DataLoader': (fastai_on_loader, "`Learner.fit(1)` on PyTorch's `DataLoader` from above: what its loop costs without its transforms. Loss only; "
                                               'bar and log are off.'),
}


@dataclass(eq=False)
class Contender:
    "One network and its way to train it."
    name: str
    model: nn.Module
    steps: list     # grows by one with each step of the optimizer
    epoch: callable # (number) -> loss
    seconds: list = field(default_factory=list)
    losses: list = field(default_factory=list)

    def run(self, device):
        "Train for one epoch and note how long it took."
        synchronize(device)
        start = time.perf_counter()
        self.losses.append(self.epoch(len(self.seconds)))
        synchronize(device)
        self.seconds.append(time.perf_counter() - start)


def synchronize(device):
    "Wait for the GPU."
    if device.type == 'cuda': torch.cuda.synchronize()


def enter(job, name):
    "A contender with its own copy of the network. Raises `ImportError` for a library that is not installed."
    model, steps = new_model(job, job.compiled and name in ('bare step', 's8lib')), []
    optimizer = make_optimizer(model, learning_rate=LEARNING_RATE)
    optimizer.register_step_post_hook(lambda *call: steps.append(1))
    return Contender(name, model, steps, CONTENDERS[name][0](job, model, optimizer))


def enter_all(job):
    "Those that are installed, and why the others are not here."
    contenders, missing = [], {}
    for name in CONTENDERS:
        try: contenders.append(enter(job, name))
        except ImportError as error:
            missing[name] = f'not installed ({error})'
            print(f'{name}: {missing[name]}', file=sys.stderr)
    return contenders, missing


def check_trained(job, contender):
    "Everybody must have made the same steps, to a finite loss, with weights that moved."
    expected, done = job.steps * len(contender.seconds), len(contender.steps)
    skipping = job.precision == torch.float16 and done < expected # its scaler skips steps while it looks for a scale
    assert done == expected or skipping, f'{contender.name} made {done} optimizer steps, not {expected}'
    assert all(map(math.isfinite, contender.losses)), f'{contender.name} diverged: {contender.losses}'
    for before, after in zip(new_model(job).parameters(), contender.model.parameters()):
        assert not torch.equal(before.cpu(), after.detach().cpu()), f'{contender.name} has weights that were not trained'


def measure_epochs(job, rounds):
    "Rows of the table: images a second, warm-up and every round."
    contenders, missing = enter_all(job)
    for number in range(rounds + 1):
        turn = number % len(contenders)
        for contender in contenders[turn:] + contenders[:turn]:
            contender.run(job.device)
            print(f'round {number} {contender.name}: {contender.seconds[-1]:.2f} s', file=sys.stderr)
    for contender in contenders: check_trained(job, contender)
    rates = {contender.name: len(job.train_set) / statistics.median(contender.seconds[1:]) for contender in contenders}
    rows = [{'variant': contender.name, 'images/s': rates[contender.name], 'to bare step': rates[contender.name] / rates['bare step'],
             's8lib to it': rates['s8lib'] / rates[contender.name], 'slowest': len(job.train_set) / max(contender.seconds[1:]),
             'fastest': len(job.train_set) / min(contender.seconds[1:]), 'warm-up s': contender.seconds[0], 'seconds': contender.seconds[1:]}
            for contender in contenders]
    return rows + [{'variant': name, 'images/s': reason} for name, reason in missing.items()]


def count_waits(job):
    "How often an epoch of s8lib makes the processor wait for the GPU, as PyTorch notices it; one is the end of the epoch."
    model = new_model(job)
    epoch = ours(job, model, make_optimizer(model, learning_rate=LEARNING_RATE))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        torch.cuda.set_sync_debug_mode('warn')
        try: epoch(0)
        finally: torch.cuda.set_sync_debug_mode('default')
    return sum('called a synchronizing' in str(warning.message) for warning in caught)


def measure_run(job, epochs, bare_rate):
    "A whole run with a test after each epoch, against as many epochs of bare steps."
    model, bare_epoch = new_model(job), len(job.train_set) / bare_rate
    synchronize(job.device)
    start = time.perf_counter()
    history = fit(model, s8lib_loader(job), job.test_set, job.stats, epochs, precision=job.precision, compile=job.compiled, progress=False)
    synchronize(job.device)
    seconds, later = time.perf_counter() - start, statistics.median(row['seconds'] for row in history[1:] or history)
    return {'epochs': epochs, 'seconds': seconds, 'to bare steps': seconds / (epochs * bare_epoch), 'first epoch s': history[0]['seconds'],
            'median later epoch s': later, 'later epoch to bare steps': later / bare_epoch} | ({'waits in an epoch': count_waits(job)} if job.on_gpu else {})


def write_images(image_set, folder):
    "An image set as PNG files of class folders."
    for name in image_set.classes: (folder / image_set.split / name).mkdir(parents=True)
    for index, (image, label) in enumerate(zip(image_set.images, image_set.labels)):
        Image.fromarray(image).save(folder / image_set.split / image_set.classes[label] / f'{index}.png')


def seconds_until(code, options='', **environment):
    "Seconds from starting a fresh Python to each time that it prints."
    start = time.time()
    done = subprocess.run([sys.executable, '-c', code, options], env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True)
    return [float(line) - start for line in done.stdout.split()]


def measure_start(job, data_dir):
    "Seconds beyond `import torch` until a run of `train` begins its first step, and until that step is finished."
    with tempfile.TemporaryDirectory() as folder:
        environment = {} if data_dir else dict(XDG_CACHE_HOME=f'{folder}/cache')
        if not data_dir:
            for image_set in (job.train_set, job.test_set): write_images(image_set, Path(folder))
        bare_import = partial(seconds_until, IMPORT_TORCH)
        options = dict(data_dir=data_dir or folder, batch_size=job.batch, recipe='assignment', device=job.device.type, precision=precision_name(job),
                       compile='no', runs_dir=f'{folder}/runs')
        start = partial(seconds_until, FIRST_STEP, json.dumps(options), **environment)
        bare_import(); start() # fills the caches
        found = [(*bare_import(), *start()) for _ in range(NUM_STARTS)]
    alone, begun, finished = (statistics.median(times) for times in zip(*found))
    return {'import torch s': alone, 'beyond it until the first step begins s': begun - alone, 'beyond it until the first step is finished s': finished - alone}


def table(rows):
    "A Markdown table; numbers get three digits, lists are left to the JSON file."
    keys = list(dict.fromkeys(key for row in rows for key, value in row.items() if not isinstance(value, list)))
    def text(value): return '' if value is None else value if isinstance(value, str) else f'{value:,.0f}' if value >= 1000 else f'{value:.3g}'
    lines = [keys, ['---'] * len(keys), *[[text(row.get(key)) for key in keys] for row in rows]]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def page(setting, result):
    "The result in Markdown."
    compiled = ' `torch.compile` for the bare step and s8lib, not for the others. Compiling, without a cache, is in the warm-up of the bare step; s8lib finds it compiled.' if setting['compile'] else ''
    lines = ['# Training speed, side by side',
             f"ResNet-18 of s8lib, width {setting['width']}, {setting['parameters']:,} parameters, convolution weights in the channels-last layout; "
             f"{setting['images']:,} training images of {setting['image']} ({setting['data']}), batch {setting['batch']}, {setting['precision']}; SGD with Nesterov "
             f"momentum 0.9 and weight decay 5e-4; pad 4 and crop, CutOut 16x16. Loader workers of PyTorch, Lightning and fastai: {setting['workers']}; "
             f"s8lib: 0.{compiled}",
             ', '.join(f'{name} {value}' for name, value in setting['machine'].items()) + '.', f"`{setting['command']}`",
             '## Epochs',
             f"A round is one epoch of {setting['images']:,} images for each, in turn, each round starting with another one; median, slowest and fastest of "
             f"{setting['rounds']} rounds after one for warm-up. The time runs from the call that trains an epoch to its return (on a GPU: until it is idle): with "
             'starting the loader and its workers, without testing, and without building network, optimizer and dataset. Everybody makes the same number of '
             'optimizer steps in the same number format.',
             table(result['epochs']), '\n'.join(f'- **{name}**: {inside}' for name, (_, inside) in CONTENDERS.items())]
    if 'run' in result: lines += ['## Whole run',
        f"Making the loader and `fit` with a test on {setting['test images']:,} images after each epoch, a new network"
        f"{', compiling included' if setting['compile'] else ''}, against as many epochs of bare steps without a test.", table([result['run']])]
    lines += ['## Start of a run',
        "From starting Python to the first step of `train('folder', ...)` on the same images and device, width 64, not compiled, images decoded before and read "
        'from the cache: imports, data, statistics, network, run folder, first batch. Fresh processes, '
        f'medians of {NUM_STARTS}; `import torch` alone is taken off.', table([result['start']])]
    return '\n\n'.join(lines) + '\n'


def load_job(arguments):
    "Data, device and number format as the options say."
    train_set, test_set = load_dataset('folder', arguments.data_dir) if arguments.data_dir else load_dataset('shapes')
    device = pick_device(arguments.device)
    return Job(repeat(train_set, arguments.images), repeat(test_set, arguments.images // 5), channel_stats(train_set), device,
               pick_precision(device, arguments.precision), arguments.batch, arguments.width, arguments.workers,
               pick_compile(device, 'yes' if arguments.compile else 'no'))


def command(parser, arguments):
    "The command with the options that were given, without the machine's folders."
    given = {name: value for name, value in vars(arguments).items() if value != parser.get_default(name) and name != 'out'}
    words = [f'--{name.replace("_", "-")}' + ('' if value is True else f' {"FOLDER" if name == "data_dir" else value}') for name, value in given.items()]
    return ' '.join(['python benchmarks/train.py', *words])


def describe(job, arguments, typed):
    "Everything that a reader needs to judge the numbers."
    packages = {}
    for name in ('s8lib', 'pytorch-lightning', 'fastai'):
        try: packages[name] = version(name)
        except ImportError: packages[name] = 'not installed'
    return {'width': job.width, 'parameters': sum(p.numel() for p in new_model(job).parameters()), 'images': len(job.train_set),
            'test images': len(job.test_set), 'image': 'x'.join(map(str, job.train_set.images.shape[1:])),
            'data': 'a folder' if arguments.data_dir else 'drawn shapes', 'batch': job.batch, 'precision': precision_name(job),
            'workers': job.workers, 'compile': job.compiled, 'rounds': arguments.rounds, 'machine': describe_machine(job.device) | packages, 'command': typed}


def parse():
    "The options, and the command that was typed."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu', choices=['cpu', 'cuda'])
    parser.add_argument('--precision', default='auto', choices=['auto', 'float32', 'float16', 'bfloat16'])
    parser.add_argument('--data-dir', help='holds train/<class>/* and test/<class>/*; by default shapes are drawn')
    parser.add_argument('--images', type=int, help='training images of a round, repeated when there are fewer; by default 50,000 on a GPU, otherwise 640')
    parser.add_argument('--batch', type=int, default=128)
    parser.add_argument('--width', type=int, default=64)
    parser.add_argument('--rounds', type=int, default=5, help='after one for warm-up')
    parser.add_argument('--workers', type=int, help='loader processes of the others; by default 8 (or the cores, if fewer) on a GPU, otherwise 0')
    parser.add_argument('--epochs', type=int, help='of a whole run with tests; by default 20 on a GPU, otherwise none')
    parser.add_argument('--compile', action='store_true', help='torch.compile for the bare step and s8lib')
    parser.add_argument('--out', type=Path, default=Path(__file__).parent / 'results')
    arguments = parser.parse_args()
    typed = command(parser, arguments)
    gpu = pick_device(arguments.device).type == 'cuda'
    defaults = dict(images=50_000, workers=min(8, os.cpu_count()), epochs=20) if gpu else dict(images=640, workers=0, epochs=0)
    for name, value in defaults.items():
        if getattr(arguments, name) is None: setattr(arguments, name, value)
    return arguments, typed


def main():
    arguments, typed = parse()
    job = load_job(arguments)
    torch.compiler.config.force_disable_caches = True
    setting, result = describe(job, arguments, typed), {'epochs': measure_epochs(job, arguments.rounds)}
    if arguments.epochs: result['run'] = measure_run(job, arguments.epochs, result['epochs'][0]['images/s'])
    result['start'] = measure_start(job, arguments.data_dir)
    file = arguments.out / f'train-{"gpu" if job.on_gpu else "cpu"}'
    arguments.out.mkdir(parents=True, exist_ok=True)
    file.with_suffix('.json').write_text(json.dumps({'setting': setting, **result}, indent=1) + '\n')
    file.with_suffix('.md').write_text(page(setting, result))
    print(page(setting, result))


if __name__ == '__main__': main()
