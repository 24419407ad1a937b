"""Training speed of one ResNet-18 beside plain PyTorch, Lightning and fastai, and the start of a run.

    pip install -e '.[benchmark]'
    python benchmarks/train.py                       # drawn images, a CUDA GPU if there is one
    python benchmarks/train.py --data-dir FOLDER     # FOLDER/{train,test}/<class>/*

Everybody trains in one process, in turn within each round, each round starting with another one; rates are
medians over the rounds after a warm-up round. A library that is not installed is left out.
"""
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
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from fastcore.script import call_parse
from PIL import Image
from shared import RESULTS, describe, seconds_of, table, words, write_result
from torch import nn
from torch.utils.data import DataLoader, Dataset

from s8lib.batches import EpochBatches, make_train_loader
from s8lib.compute import Compute, pick_compute, seed_everything
from s8lib.data import ImageSet
from s8lib.options import Options, load_splits, make_model
from s8lib.fitting import fit
from s8lib.training import make_trainer
from s8lib.transforms import albumentations_pipeline, normalize

TRAINING = dict(recipe='assignment', optimizer='sgd', learning_rate=.01, schedule='constant')
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

TRAINED = """ResNet-18 of s8lib, convolution weights in the channels-last layout; SGD with Nesterov momentum
0.9 and weight decay 5e-4; pad 4 and crop, CutOut 16x16. The workers are the loader processes of PyTorch,
Lightning and fastai; s8lib has none. With compile yes the bare step and s8lib run through `torch.compile`,
the others do not; compiling, without a cache, is in the warm-up of the bare step, and s8lib finds it
compiled. With compile replay the bare step and s8lib replay their steps on a GPU."""
EPOCHS = """A round is one epoch of all images for each, in turn, each round starting with another one;
median, slowest and fastest of the rounds after one for warm-up. The time runs from the call that trains an
epoch to its return (on a GPU: until it is idle): with starting the loader and its workers, without testing,
and without building network, optimizer and dataset. Everybody makes the same number of optimizer steps in the
same number format."""
RUN = """Making the loader and `fit` of a new network (with compile yes: compiling included), with a test on
the test images after each epoch, against as many epochs of bare steps without a test."""
START = f"""From starting Python to the first step of `train('folder', ...)` on the same images and device,
width 64, not compiled, images decoded before and read from the cache: imports, data, statistics, network, run
folder, first batch. Fresh processes, medians of {NUM_STARTS}; `import torch` alone is taken off."""


@dataclass(frozen=True, eq=False)
class Job:
    "What everybody trains, on what."
    train_set: ImageSet  # of an epoch
    test_set: ImageSet  # of the whole run
    options: Options  # filled in; its workers are those of the other libraries
    compute: Compute  # compiled is for the bare step and s8lib

    @property
    def on_gpu(self): return self.compute.device.type == 'cuda'

    @property
    def sizes(self): return EpochBatches(len(self.train_set), self.options.batch_size).sizes

    def loader(self): return make_train_loader(self.train_set, self.options, self.compute)

    def trainer(self):
        "The same network with the same weights for everybody, and its optimizer."
        seed_everything(0)
        model = make_model(self.options, self.train_set)
        return make_trainer(model, self.options, self.compute, 1)  # a constant rate reads no number of steps


def learn(trainer, loss):
    "Backward and a step of the optimizer."
    trainer.optimizer.zero_grad()
    trainer.scaler.scale(loss).backward()
    trainer.scaler.step(trainer.optimizer)
    trainer.scaler.update()


def bare(job, trainer):
    """Forward, cross-entropy, backward and optimizer step on one resident batch in the channels-last layout:
    no data work, no accounting."""
    batch_size = job.options.batch_size
    x = normalize(job.train_set.images[:batch_size], job.train_set.stats)
    x = x.to(job.compute.device, memory_format=torch.channels_last)
    y = torch.from_numpy(job.train_set.labels[:batch_size]).to(job.compute.device)
    def epoch(number):
        trainer.model.train()
        for size in job.sizes:
            with job.compute.autocast(): logits = trainer.network(x[:size])
            loss = F.cross_entropy(logits.float(), y[:size])
            learn(trainer, loss)
        return loss.item()
    return epoch


def ours(job, trainer):
    """`Trainer.epoch` on `make_train_loader`, executor 'batched', as `fit` runs it: order, augmentation of
    whole batches on the training device, step, schedule, loss, accuracy and the check for a diverged run."""
    loader = job.loader()
    def epoch(number):
        loader.set_epoch(number)
        return trainer.epoch(loader)[0]
    return epoch


class AugmentedImages(Dataset):
    "One image at a time through the Albumentations pipeline."
    def __init__(self, image_set, pipeline):
        self.image_set = image_set
        self.pipeline = pipeline

    def __len__(self): return len(self.image_set)

    def __getitem__(self, index):
        image = self.pipeline(image=self.image_set.images[index])['image']
        return torch.from_numpy(image.transpose(2, 0, 1)), int(self.image_set.labels[index])


def plain_loader(job):
    "PyTorch's `DataLoader` as tutorials have it."
    options = job.options
    size = job.train_set.image_size
    pipeline = albumentations_pipeline(options.augmentation(size), job.train_set.stats, size)
    return DataLoader(AugmentedImages(job.train_set, pipeline), options.batch_size, shuffle=True,
                      num_workers=options.workers, pin_memory=job.on_gpu)


def plain(job, trainer):
    """A `DataLoader` with the same augmentation as an Albumentations pipeline per image, a loop with
    `.item()` for loss and accuracy."""
    device = job.compute.device
    loader = plain_loader(job)
    def epoch(number):
        trainer.model.train()
        total_loss = correct = 0
        for x, y in loader:
            x = x.to(device, non_blocking=True)
            y = y.to(device, non_blocking=True)
            with job.compute.autocast():
                logits = trainer.model(x)
                loss = F.cross_entropy(logits, y)
            learn(trainer, loss)
            total_loss += loss.item() * len(y)
            correct += (logits.argmax(1) == y).sum().item()  # the accuracy that such a loop prints
        return total_loss / len(loader.dataset)
    return epoch


def lightning_module(model, optimizer):
    "A `LightningModule` that logs loss and accuracy for each epoch."
    from pytorch_lightning import LightningModule

    class Classifier(LightningModule):
        def __init__(self):
            super().__init__()
            self.model = model

        def training_step(self, batch, batch_index):
            x, y = batch
            logits = self.model(x)
            loss = F.cross_entropy(logits, y)
            accuracy = (logits.argmax(1) == y).float().mean()
            self.log_dict(dict(loss=loss, accuracy=accuracy), on_step=False, on_epoch=True)
            return loss

        def configure_optimizers(self): return optimizer

    return Classifier()


def lightning(job, trainer):
    """`Trainer(...)` and `Trainer.fit` for one epoch on that `DataLoader`, loss and accuracy logged per
    epoch. Logger, checkpoints, bar and model summary are off, which is its best case."""
    import pytorch_lightning
    logging.getLogger('pytorch_lightning').setLevel(logging.ERROR)
    warnings.filterwarnings('ignore', module='pytorch_lightning')
    module = lightning_module(trainer.model, trainer.optimizer)
    loader = plain_loader(job)
    precision = LIGHTNING_PRECISION[job.compute.dtype]
    settings = dict(accelerator='gpu' if job.on_gpu else 'cpu', devices=1, precision=precision, logger=False,
                    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    def epoch(number):
        peer = pytorch_lightning.Trainer(max_epochs=1, **settings)
        peer.fit(module, loader)
        return peer.callback_metrics['loss'].item()
    return epoch


def fastai_epoch(job, trainer, loaders, loss_function):
    "`Learner.fit` for one epoch each round."
    from fastai.vision.all import Learner, OptimWrapper
    learner = Learner(loaders, trainer.model, loss_function, OptimWrapper(opt=trainer.optimizer))
    if job.compute.dtype == torch.bfloat16: learner.to_bf16()
    if job.compute.dtype == torch.float16: learner.to_fp16()
    def epoch(number):
        with learner.no_bar(), learner.no_logging(): learner.fit(1, job.options.learning_rate)
        return float(learner.recorder.losses[-1])
    return epoch


def fastai_transforms(job):
    "The same augmentation by fastai: of each image, and of each batch."
    from fastai.vision.all import CropPad, Normalize, RandomCrop, RandomErasing
    height, width = job.train_set.image_size
    stats = job.train_set.stats
    padding = job.options.padding
    share = job.options.cutout**2 / (height * width)
    of_image = [CropPad((height + 2 * padding, width + 2 * padding)), RandomCrop((height, width))]
    to_normal = Normalize.from_stats(stats.mean, stats.std, cuda=job.on_gpu)
    return dict(item_tfms=of_image, batch_tfms=[to_normal, RandomErasing(1., share, share, 1.)])


def fastai(job, trainer):
    """`Learner.fit(1)` with fastai's own blocks and transforms, which is how it is used: pad and random crop
    per image as PIL, normalization and `RandomErasing` per batch on the device. It erases one square of noise
    for the whole batch, which is less work than a square per image. Images come from memory, where
    `from_folder` would decode them again in each epoch. Loss only; bar and log are off."""
    from fastai.vision.all import CategoryBlock, CrossEntropyLossFlat, DataBlock, ImageBlock
    images = job.train_set.images
    names = np.array(job.train_set.classes)[job.train_set.labels].tolist()
    block = DataBlock((ImageBlock, CategoryBlock(vocab=job.train_set.classes)),
                      get_x=lambda index: images[index], get_y=lambda index: names[index],
                      splitter=lambda items: (range(len(items)), []), **fastai_transforms(job))
    loaders = block.dataloaders(range(len(images)), bs=job.options.batch_size, drop_last=False,
                                num_workers=job.options.workers, device=job.compute.device)
    return fastai_epoch(job, trainer, loaders, CrossEntropyLossFlat())


def fastai_on_loader(job, trainer):
    """`Learner.fit(1)` on PyTorch's `DataLoader` from above: what its loop costs without its transforms. Loss
    only; bar and log are off."""
    from fastai.vision.all import DataLoaders
    return fastai_epoch(job, trainer, DataLoaders(plain_loader(job), []), nn.CrossEntropyLoss())


CONTENDERS = {'bare step': bare, 's8lib': ours, 'PyTorch': plain, 'Lightning': lightning, 'fastai': fastai,
              'fastai on DataLoader': fastai_on_loader}


@dataclass(eq=False)
class Contender:
    "One network and its way to train it."
    name: str
    model: nn.Module
    steps: list  # grows by one with each step of the optimizer
    epoch: Callable  # (number) -> loss
    seconds: list = field(default_factory=list)
    losses: list = field(default_factory=list)

    def run(self, device):
        "Train for one epoch and note how long it took."
        def train(): self.losses.append(self.epoch(len(self.losses)))
        self.seconds.append(seconds_of(train, device))


def enter(job, name):
    "A contender with its own copy of the network; raises `ImportError` for a library that is not installed."
    trainer = job.trainer()
    steps = []
    trainer.optimizer.register_step_post_hook(lambda *call: steps.append(1))
    return Contender(name, trainer.model, steps, CONTENDERS[name](job, trainer))


def enter_all(job):
    "The contenders that are installed, and by name why the others are not here."
    contenders = []
    missing = {}
    for name in CONTENDERS:
        try: contenders.append(enter(job, name))
        except ImportError as error:
            missing[name] = f'not installed ({error})'
            print(f'{name}: {missing[name]}', file=sys.stderr)
    return contenders, missing


def take_turns(contenders, rounds, device):
    "A round for warm-up and the rounds that count."
    for number in range(rounds + 1):
        turn = number % len(contenders)
        for contender in contenders[turn:] + contenders[:turn]:
            contender.run(device)
            print(f'round {number} {contender.name}: {contender.seconds[-1]:.2f} s', file=sys.stderr)


def check_trained(job, contender):
    "Everybody must have made the same steps, to a finite loss, with weights that moved."
    expected = len(job.sizes) * len(contender.seconds)
    steps = len(contender.steps)
    skipping = job.compute.dtype == torch.float16 and steps < expected  # its scaler is looking for a scale
    assert steps == expected or skipping, f'{contender.name} made {steps} optimizer steps, not {expected}'
    assert all(map(math.isfinite, contender.losses)), f'{contender.name} diverged: {contender.losses}'
    for before, after in zip(job.trainer().model.parameters(), contender.model.parameters()):
        moved = not torch.equal(before.cpu(), after.detach().cpu())
        assert moved, f'{contender.name} has weights that were not trained'


def measure_epochs(job, rounds):
    "Rows of the table: images a second, warm-up and every round."
    contenders, missing = enter_all(job)
    take_turns(contenders, rounds, job.compute.device)
    for contender in contenders: check_trained(job, contender)
    images = len(job.train_set)
    rates = {contender.name: images / statistics.median(contender.seconds[1:]) for contender in contenders}
    def row(name, rate, warm_up, *seconds):
        return {'variant': name, 'images/s': rate, 'to bare step': rate / rates['bare step'],
                's8lib to it': rates['s8lib'] / rate, 'slowest': images / max(seconds),
                'fastest': images / min(seconds), 'warm-up s': warm_up, 'seconds': list(seconds)}
    rows = [row(contender.name, rates[contender.name], *contender.seconds) for contender in contenders]
    return rows + [{'variant': name, 'images/s': reason} for name, reason in missing.items()]


def count_waits(job):
    "How often an epoch of s8lib, not compiled, makes the processor wait for the GPU, as PyTorch notices it."
    job = replace(job, compute=replace(job.compute, compiled=False))
    epoch = ours(job, job.trainer())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        torch.cuda.set_sync_debug_mode('warn')
        try: epoch(0)
        finally: torch.cuda.set_sync_debug_mode('default')
    return sum('called a synchronizing' in str(warning.message) for warning in caught)


def measure_run(job, epochs, bare_rate):
    "A whole run with a test after each epoch, against as many epochs of bare steps."
    trainer = job.trainer()
    history = []
    def run(): history.extend(fit(trainer, job.loader(), dict(test=job.test_set), epochs))
    seconds = seconds_of(run, job.compute.device)
    later = statistics.median(row['seconds'] for row in history[1:] or history)
    bare_epoch = len(job.train_set) / bare_rate
    waits = {'waits in an epoch': count_waits(job)} if job.on_gpu else {}
    return {'epochs': epochs, 'seconds': seconds, 'to bare steps': seconds / (epochs * bare_epoch),
            'first epoch s': history[0]['seconds'], 'median later epoch s': later,
            'later epoch to bare steps': later / bare_epoch, **waits}


def write_images(image_set, folder):
    "An image set as PNG files of class folders."
    for name in image_set.classes: (folder / image_set.split / name).mkdir(parents=True)
    for index, (image, label) in enumerate(zip(image_set.images, image_set.labels)):
        Image.fromarray(image).save(folder / image_set.split / image_set.classes[label] / f'{index}.png')


def seconds_until(code, options='', **environment):
    "Seconds from starting a fresh Python to each time that it prints."
    start = time.time()
    process = subprocess.run([sys.executable, '-c', code, options], env=os.environ | environment,
                             stdout=subprocess.PIPE, text=True, check=True)
    return [float(line) - start for line in process.stdout.split()]


def measure_start(job):
    "Seconds beyond `import torch` until `train` begins its first step, and until that step is finished."
    options = job.options
    with tempfile.TemporaryDirectory() as folder:
        environment = {} if options.data_dir else dict(XDG_CACHE_HOME=f'{folder}/cache')
        if not options.data_dir:
            for image_set in (job.train_set, job.test_set): write_images(image_set, Path(folder))
        given = dict(data_dir=options.data_dir or folder, batch_size=options.batch_size, recipe='assignment',
                     device=options.device, precision=options.precision, compile='no',
                     runs_dir=f'{folder}/runs')
        def start(): return seconds_until(FIRST_STEP, json.dumps(given), **environment)
        warm_up, *times = [seconds_until(IMPORT_TORCH) + start() for _ in range(NUM_STARTS + 1)]
    alone, begun, finished = (statistics.median(seconds) for seconds in zip(*times))
    return {'import torch s': alone, 'beyond it until the first step begins s': begun - alone,
            'beyond it until the first step is finished s': finished - alone}


def page(result):
    "The result in Markdown, by paragraph."
    def line(text): return ' '.join(text.split())
    inside = [f'- **{name}**: {line(train.__doc__)}' for name, train in CONTENDERS.items()]
    paragraphs = ['# Training speed, side by side', line(TRAINED), f"{words(result['setting'])}.",
                  '## Epochs', line(EPOCHS), table(result['epochs']), '\n'.join(inside)]
    if 'run' in result: paragraphs += ['## Whole run', line(RUN), table([result['run']])]
    return paragraphs + ['## Start of a run', line(START), table([result['start']])]


def load_job(options, num_images):
    "Data, device and number format as the options say; images are repeated when there are fewer."
    def repeat(image_set, count): return image_set.subset(np.arange(count) % len(image_set))
    train_set, _, test_set = load_splits(options)
    compute = pick_compute(options.device, options.precision, compile=options.compile)
    return Job(repeat(train_set, num_images), repeat(test_set, num_images // 5), options.filled(), compute)


def describe_job(job, rounds):
    "Everything that a reader needs to judge the numbers."
    options = job.options
    return {'width': options.width, 'parameters': sum(p.numel() for p in job.trainer().model.parameters()),
            'images': len(job.train_set), 'test images': len(job.test_set),
            'image': 'x'.join(map(str, job.train_set.images.shape[1:])),
            'data': 'a folder' if options.data_dir else 'drawn shapes', 'batch': options.batch_size,
            'precision': job.compute.describe()['precision'], 'workers': options.workers,
            'compile': options.compile, 'rounds': rounds,
            'machine': describe(job.compute.device, 'pytorch-lightning', 'fastai')}


@call_parse
def main(
    device: str = 'cuda' if torch.cuda.is_available() else 'cpu',  # 'cpu' or 'cuda'
    precision: str = 'auto',  # 'auto', 'float32', 'float16' or 'bfloat16'
    data_dir: str = None,  # holds {train,test}/<class>/*; by default shapes are drawn
    images: int = None,  # of a round, repeated when there are fewer; by default 50,000 on a GPU, else 640
    batch: int = 128,  # images in a batch
    width: int = 64,  # channels of the stem; 64 is the published network
    rounds: int = 5,  # after one for warm-up
    workers: int = None,  # loader processes of the others; by default up to 8 on a GPU, else 0
    epochs: int = None,  # of a whole run with tests; by default 20 on a GPU, else none
    compile: str = 'no',  # as the option of s8lib: 'yes', 'no' or 'replay'; the bare step runs like it
    out: str = RESULTS,  # folder of the result files
):
    "Training speed of one ResNet-18 beside plain PyTorch, Lightning and fastai, and the start of a run."
    torch.compiler.config.force_disable_caches = True
    gpu = device.startswith('cuda')
    if workers is None: workers = min(8, os.cpu_count()) if gpu else 0
    if epochs is None: epochs = 20 if gpu else 0
    options = Options('folder' if data_dir else 'shapes', data_dir=data_dir, batch_size=batch, width=width,
                      workers=workers, device=device, precision=precision, compile=compile,
                      **TRAINING)
    job = load_job(options, images or (50_000 if gpu else 640))
    setting = describe_job(job, rounds)
    result = dict(setting=setting, epochs=measure_epochs(job, rounds))
    if epochs: result['run'] = measure_run(job, epochs, result['epochs'][0]['images/s'])
    result['start'] = measure_start(job)
    print(write_result(f'train-{"gpu" if job.on_gpu else "cpu"}', result, page(result), out))
