"""Other libraries' preprocessing and data sets: the same numbers as they make, to the last bit.

    pip install -e '.[benchmark]'
    python benchmarks/preprocessing.py              # a few minutes on one core, nothing is downloaded

Photographs of noise, of several proportions, are prepared by s8lib and by the library itself: by the table of
every pretrained model of timm, by the weights of every classifier of torchvision, and by every image
processor of transformers that gives one input for each photograph. The same images are read from the data
sets of Hugging Face in each form that they can take.
"""
import warnings
from pathlib import Path

import numpy as np
import torch
from fastcore.script import call_parse
from PIL import Image
from shared import RESULTS, describe, table, words, write_result

from s8lib.core import S8Error
from s8lib.preprocessing import as_preprocessing
from s8lib.sources import image_set

SIZES = ((97, 211), (375, 500), (500, 333), (224, 224), (41, 40))  # height and width of the photographs
NOTE = ('*Differ* counts the photographs whose inputs are not equal to the last bit. *Not alone* counts '
        'the preprocessings of the library that give other inputs for several photographs in one call '
        '(two readers of text, which make all as wide as the widest). *Refused* are processors that make '
        'no tensor (C, H, W) of a photograph (several crops, patches, video, pairs, boxes to pass along),'
        ' each with a named error; processors that cannot be made without files are left out.')


def photographs(seed: int) -> list:
    "Images of noise."
    random = np.random.default_rng(seed)
    return [Image.fromarray(random.integers(256, size=(*size, 3), dtype=np.uint8)) for size in SIZES]


def of_timm():
    "A table of timm of each kind, and timm's own transform."
    import timm
    from timm.data import create_transform, resolve_data_config
    configs = [timm.get_pretrained_cfg(name) for name in timm.list_models(pretrained=True)]
    kinds = {}
    for config in filter(None, configs):
        config = config.to_dict()
        names = ('input_size', 'interpolation', 'crop_pct', 'crop_mode', 'mean', 'std')
        kinds.setdefault(str([config.get(name) for name in names]), config)
    for config in kinds.values():
        transform = create_transform(**resolve_data_config({}, pretrained_cfg=config))
        yield config, lambda photos, transform=transform: map(transform, photos)


def of_torchvision():
    "Weights of torchvision of each kind, and their transform."
    import torchvision
    from torchvision.models import get_model_weights, list_models
    weights = [each for name in list_models(torchvision.models) for each in get_model_weights(name)]
    for each in {repr(each.transforms()): each for each in weights}.values():
        yield each, lambda photos, each=each: map(each.transforms(), photos)


def of_transformers():
    "Each image processor of transformers, which takes all photographs in one call."
    import transformers
    endings = ('ImageProcessor', 'ImageProcessorFast', 'ImageProcessorPil')
    for name in dir(transformers):
        if not name.endswith(endings) or name.startswith(('Auto', 'Base')): continue
        try: processor = getattr(transformers, name)()
        except Exception: continue  # it needs files, or a library that is not installed
        yield processor, lambda photos, processor=processor: processor(
            images=photos, return_tensors='pt')['pixel_values']


def compare(library, pairs, photos):
    "A row of the table: how often s8lib and the library itself disagree."
    row = dict(library=library, preprocessings=0, photographs=0, differ=0) | {'not alone': 0, 'refused': 0}
    for thing, own in pairs:
        try: inputs = [as_preprocessing(thing)(photo) for photo in photos]
        except S8Error:
            row['refused'] += 1
            continue
        alone = [next(iter(own([photo]))) for photo in photos]
        together = list(own(photos)) if len({x.shape for x in inputs}) == 1 else alone
        row['preprocessings'] += 1
        row['photographs'] += len(photos)
        row['differ'] += sum(not torch.equal(x, y) for x, y in zip(inputs, alone))
        row['not alone'] += not all(torch.equal(x, y) for x, y in zip(alone, together))
    return row


def hugging_face(seed):
    "A row for each form of a data set of Hugging Face: whether it gives the images, labels and classes."
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
    from datasets import Image as ImageFeature
    noise = np.random.default_rng(seed).integers(256, size=(10, 8, 9, 3), dtype=np.uint8)
    labels = [0, 1] * 5
    names = ['cat', 'dog']
    columns = dict(photo=[Image.fromarray(image) for image in noise], kind=labels)
    rows = Dataset.from_dict(columns, Features(photo=ImageFeature(), kind=ClassLabel(names=names)))
    texts = Dataset.from_dict(dict(image=columns['photo'], label=[names[label] for label in labels]),
                              Features(image=ImageFeature(), label=Value('string')))
    def prepared(batch): return dict(pixel_values=[torch.tensor(np.asarray(image)).permute(2, 0, 1) / 255.
                                                   for image in batch['photo']], label=batch['kind'])
    forms = {
        'a data set': rows, 'several splits': DatasetDict(test=rows), 'a stream': rows.to_iterable_dataset(),
        'with_format("torch")': rows.with_format('torch'), 'with_format("numpy")': rows.with_format('numpy'),
        'labels that are texts': texts,
        'with_transform': rows.with_transform(prepared),
        'in a loader of PyTorch': torch.utils.data.DataLoader(rows.with_transform(prepared), batch_size=4)}
    sets = {form: image_set(source) for form, source in forms.items()}
    expected = image_set(noise, labels, names)
    same = {form: np.array_equal(each.images, noise) and each.labels.tolist() == labels
            and each.classes == expected.classes for form, each in sets.items()}
    return [{'Hugging Face': form, 'images, labels and classes': 'equal' if equal else 'DIFFERENT'}
            for form, equal in same.items()]


@call_parse
def main(
    seed: int = 0,        # of the photographs
    out: Path = RESULTS,  # folder of the results
):
    "Inputs by s8lib and by the libraries themselves."
    warnings.simplefilter('ignore')
    libraries = dict(timm=of_timm, torchvision=of_torchvision, transformers=of_transformers)
    rows = [compare(name, pairs(), photographs(seed)) for name, pairs in libraries.items()]
    forms = hugging_face(seed)
    machine = describe('cpu', 'timm', 'torchvision', 'transformers', 'datasets', 'pillow')
    setting = dict(seed=seed, sizes='/'.join(f'{height}×{width}' for height, width in SIZES), machine=machine)
    page = ['# Preprocessing', words(setting), NOTE, table(rows), table(forms)]
    print(write_result('preprocessing', dict(setting=setting, rows=rows, forms=forms), page, out))
