"""The same kills on PyTorch Lightning, used as its documentation says.

The same network, images and optimizer's steps as in `kill`; random crop and mirroring by torchvision in a
`DataLoader` that shuffles, `seed_everything(seed, workers=True)`, `Trainer(deterministic=True)`,
`ModelCheckpoint(every_n_train_steps=7, save_last=True, save_top_k=-1)`, and to go on `fit(ckpt_path='last')`.
A trial is one kill: a good outcome is a training that goes on and ends to the bit as the undisturbed one.
"""
import hashlib
import logging
import shutil
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

from faults.aim import arm, read_log
from faults.bench import Place, Test, read_json, side_by_side

EVERY = 7  # steps between two saves
EPOCHS = 2
BATCH_SIZE = 16
WORKERS = (0, 2)


def _images(folder, split):
    "The images as PyTorch gets them: shuffled, cropped and mirrored at random in the training split."
    from torchvision import transforms
    from torchvision.datasets import ImageFolder
    chance = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    steps = [*chance, transforms.ToTensor()] if split == 'train' else [transforms.ToTensor()]
    return ImageFolder(Path(folder) / split, transforms.Compose(steps))


def _module():
    "The network of the library as a `LightningModule`."
    import pytorch_lightning as lightning
    import torch
    from torch.nn import functional

    from s8lib.models.resnet import resnet18

    class Network(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = resnet18(width=2)

        def training_step(self, batch):
            x, y = batch
            return functional.cross_entropy(self.network(x), y)

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=.02, momentum=.9, nesterov=True)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, .02, total_steps=20)
            return dict(optimizer=optimizer, lr_scheduler=dict(scheduler=schedule, interval='step'))
    return Network()


def victim(folder: str, images: str, seed: int, workers: int, go_on: bool = False, aim: dict | None = None):
    "Train to the end, and say what the end is."
    import pytorch_lightning as lightning
    import torch
    from pytorch_lightning.callbacks import ModelCheckpoint
    from torch.utils.data import DataLoader
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    logging.getLogger('pytorch_lightning').setLevel(logging.ERROR)
    tempfile.tempdir = f'{folder}/saves'  # where a checkpoint is written before it gets its name
    Path(tempfile.tempdir).mkdir(exist_ok=True)
    record = arm(Path(folder) / 'log.bin', 'saves', **aim or {})
    lightning.seed_everything(seed, workers=True)
    network = _module()
    loader = DataLoader(_images(images, 'train'), BATCH_SIZE, shuffle=True, num_workers=workers,
                        persistent_workers=workers > 0)
    keep = ModelCheckpoint(Path(folder) / 'saves/kept', every_n_train_steps=EVERY, save_last=True,
                           save_top_k=-1)
    trainer = lightning.Trainer(
        max_epochs=EPOCHS, accelerator='cpu', deterministic=True, logger=False, callbacks=[keep],
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder)
    trainer.fit(network, loader, ckpt_path='last' if go_on else None)
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return dict(weights=digest.hexdigest(), steps=record.steps, events=record.events,
                global_step=trainer.global_step)


def _reference(place, server, images, workers):
    "The undisturbed training, made once and then read; two of them must be equal."
    ends = []
    for name in ('first', 'second'):
        folder = place.work / f'undisturbed-{workers}-{name}'
        if not read_json(folder / 'result.json'):
            server.call('faults.lightning:victim', folder, folder=folder, images=images, seed=place.seed,
                        workers=workers)
        ends.append(read_json(folder / 'result.json')['value'])
    return ends[0] | dict(repeatable=ends[0]['weights'] == ends[1]['weights'])


def _aim(random, reference):
    "Half of the kills at a random step, half in a save: at one of its file events or a little later."
    if random.random() < .5: return dict(step=random.randint(1, reference['steps'] - 1))
    return dict(event=random.randint(1, reference['events']),
                delay=random.choice([0, random.uniform(0, .01)]))


def plan(short): return [f'{number:03}' for number in range(3 if short else 50)]


def run(place: Place, names: list):
    "Nothing where Lightning is not installed."
    if find_spec('pytorch_lightning') is None: return
    images = place.images
    def one(trial, server):
        random = place.random('lightning', trial.name)
        workers = WORKERS[int(trial.name) % 2]
        reference = _reference(place, server, images, workers)
        _kill_once(trial, server, place.work / trial.name,
                   dict(images=images, seed=place.seed, workers=workers),
                   reference, _aim(random, reference))

    yield from side_by_side(names, one, 1, imports=('pytorch_lightning', 's8lib.models.resnet'))


def _kill_once(trial, server, folder, arguments, reference, aim):
    "Kill a training, let it go on, and compare."
    killed = server.call('faults.lightning:victim', folder, folder=folder, aim=aim, **arguments)
    done = read_log(folder / 'log.bin')
    ended = server.call('faults.lightning:victim', folder, folder=folder, go_on=True, **arguments)
    trial.facts = dict(aim=aim, workers=arguments['workers'], killed=killed.status, done=done['steps'],
                       repeatable=reference['repeatable'])
    shutil.rmtree(folder)
    if not ended.value: return trial.bad('does not go on', ended.words())
    again = ended.value['steps']
    lost = done['steps'] - (reference['steps'] - again)
    trial.facts |= dict(again=again, lost=lost)
    if ended.value['global_step'] != reference['steps']:
        trial.bad('ends at another step', f"{ended.value['global_step']} of {reference['steps']}")
    elif lost > EVERY: trial.bad('more than one interval lost', f'{lost} steps')
    elif ended.value['weights'] != reference['weights']: trial.bad('another end', f'aim {aim}')
    else: trial.good('equal to the bit')


TEST = Test('kills of a training with PyTorch Lightning 2.6.6, once each, workers 0 and 2',
            'for comparison: how many go on and end equal', plan, run, judged=False)
