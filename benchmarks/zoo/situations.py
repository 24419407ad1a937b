"""Situations of public reports: those of page 49, and those that need timm, transformers or torchmetrics.

The page's cells are run as they are, with a judge that notes what fails instead of stopping there.
"""
import json
import warnings
from pathlib import Path

import torch

from .catalog import NUM_CLASSES, TOKENS, TRANSFORMERS, WINDOWS, enliven
from .trial import judged

PAGE = Path(__file__).parents[2] / 'nbs' / '490_situations.ipynb'


def on_the_page() -> dict:
    "How each situation of the page came out, by its source and what is strange."
    cells = json.loads(PAGE.read_text(encoding='utf-8'))['cells']
    names = {}
    for cell in cells:
        if cell['cell_type'] != 'code': continue
        exec(compile(''.join(cell['source']), PAGE.name, 'exec'), names)
        strict = names.get('judge')
        if strict and not hasattr(strict, 'notes'): names['judge'] = noting(strict, names)
        if 'outcomes' in names and 'situations' in ''.join(cell['source'][-2:]): break
    return names['outcomes']


def noting(judge, names):
    "The page's judge, without the exception."
    def note(source, strange, *arguments, **options):
        try: judge(source, strange, *arguments, **options)
        except Exception as error:
            names['outcomes'][source, strange] = f"{names['outcomes'].get((source, strange))}: {error}"
    note.notes = True
    return note


def timm_model(name, **options):
    "A model of timm and the side of its images."
    import timm
    model = timm.create_model(name, pretrained=False, num_classes=NUM_CLASSES, **options)
    return model, options.get('img_size', 128)


def transformers_model(kind, options, size, **more):
    "A classifier of transformers in a small configuration, and the side of its images."
    import transformers
    config = getattr(transformers, f'{kind}Config')(num_labels=NUM_CLASSES, **options, **more)
    return getattr(transformers, f'{kind}ForImageClassification')(config), size


def torchvision_model(name, size, **options):
    "A model of torchvision and the side of its images."
    import torchvision
    return torchvision.models.get_model(name, num_classes=NUM_CLASSES, **options), size


def metric_inside(collection):
    "A ResNet that holds a metric which has counted something."
    import torchmetrics
    model, size = torchvision_model('resnet18', 128)
    accuracy = torchmetrics.classification.MulticlassAccuracy(NUM_CLASSES)
    model.metric = torchmetrics.MetricCollection([accuracy]) if collection else accuracy
    model.metric.update(torch.tensor([1, 2]), torch.tensor([1, 3]))
    return model, size


def changed(made, change):
    "A model after something was done to it."
    change(made[0])
    return made


def vit(**more): return transformers_model('ViT', TOKENS, 64, **more)


def swin(): return transformers_model('Swin', WINDOWS, 64)


def checkpointing(model): model.gradient_checkpointing_enable()


def reentrant(model): model.gradient_checkpointing_enable(dict(use_reentrant=True))


LAST_SWIN = 'swin.layers.2.blocks.1.layernorm_before'
# source, what is strange, model and size, request
SITUATIONS = [
    ('Lightning-AI/torchmetrics#1283', 'a metric inside', lambda: metric_inside(False), {}),
    ('Lightning-AI/torchmetrics#1249', 'a collection of metrics inside', lambda: metric_inside(True), {}),
    ('jacobgil/pytorch-grad-cam#273', 'ViT of transformers', vit, {}),
    ('jacobgil/pytorch-grad-cam#481', 'Swin of transformers, a ModelOutput', swin, {}),
    ('jacobgil/pytorch-grad-cam#511', 'DINOv2 with registers',
     lambda: transformers_model(*TRANSFORMERS['dinov2 with registers'][:3]), {}),
    ('pytorch/pytorch#155171', 'ViT of transformers with checkpoints',
     lambda: changed(vit(), checkpointing), {}),
    ('pytorch/pytorch#33962', 'ViT of transformers with reentrant checkpoints',
     lambda: changed(vit(), reentrant), {}),
    ('jacobgil/pytorch-grad-cam#254', 'ViT of transformers, all frozen',
     lambda: changed(vit(), lambda model: model.requires_grad_(False)), {}),
    ('jacobgil/pytorch-grad-cam#76', 'ViT of timm at 128 pixels',
     lambda: timm_model('vit_tiny_patch16_224', img_size=128, depth=4), {}),
    ('frgfm/torch-cam#133', 'DeiT of timm with two tokens',
     lambda: timm_model('deit_tiny_distilled_patch16_224', img_size=128, depth=4), {}),
    ('jacobgil/pytorch-grad-cam#84', 'Swin of timm',
     lambda: timm_model('swin_tiny_patch4_window7_224', img_size=224, depths=(1, 1, 2, 1)), {}),
    ('jacobgil/pytorch-grad-cam#474', 'DaViT of timm', lambda: timm_model('davit_tiny'), {}),
    ('frgfm/torch-cam#68', 'BiT of timm, a convolution last', lambda: timm_model('resnetv2_50x1_bit'), {}),
    ('jacobgil/pytorch-grad-cam#164', 'MNASNet', lambda: torchvision_model('mnasnet0_5', 128), {}),
    ('jacobgil/pytorch-grad-cam#147', 'DenseNet-121', lambda: torchvision_model('densenet121', 128), {}),
    ('jacobgil/pytorch-grad-cam#185', 'Xception', lambda: timm_model('legacy_xception'), {}),
    ('meta-pytorch/captum#973', 'ResNet-50', lambda: torchvision_model('resnet50', 128), {}),
    ('jacobgil/pytorch-grad-cam#426', 'Swin v2 of torchvision',
     lambda: torchvision_model('swin_v2_t', 128), {}),
    ('jacobgil/pytorch-grad-cam#462', 'HRNet of timm, a list of outputs',
     lambda: timm_model('hrnet_w18_small'), {}),
    ('pytorch/pytorch#33962', 'ResNet of timm with checkpoints',
     lambda: changed(timm_model('resnet10t'), lambda model: model.set_grad_checkpointing()), {}),
    ('of our own', 'GoogLeNet with auxiliary heads, in training',
     lambda: torchvision_model('googlenet', 128, aux_logits=True, init_weights=False), {}),
]


def outcome_of(make, request) -> str:
    "The verdict about a situation, and its words."
    torch.manual_seed(0)
    model, size = make()
    images = torch.randn(2, 3, size, size)
    enliven(model, torch.randn(4, 3, size, size)).train()
    targets = torch.stack([torch.randperm(NUM_CLASSES)[:3] for _ in range(2)])
    facts = judged(model, images, targets, **request)
    if facts['verdict'] in ('right', 'right, rounded', 'blank'): return 'right'
    return f"{facts['verdict']} {facts.get('layer', '')} {facts.get('message', '')}"


def judge_all() -> dict:
    "Rows of the table, and what is not right."
    torch.set_num_threads(1)
    warnings.filterwarnings('ignore')
    outcomes = {('page 49', *key): outcome for key, outcome in on_the_page().items()}
    for source, strange, make, request in SITUATIONS:
        try: outcome = outcome_of(make, request)
        except Exception as error: outcome = f'the bench failed: {type(error).__name__}: {error}'
        outcomes['benchmark', source, strange] = outcome
    rows = [{'where': where, 'reported': source, 'strange': strange, 'outcome': str(outcome)}
            for (where, source, strange), outcome in outcomes.items()]
    failures = [f"{row['reported']}, {row['strange']}: {row['outcome']}" for row in rows
                if row['outcome'] != 'right']
    return dict(rows=rows, failures=failures)
