"""A set twenty times larger than the memory allowed: how fast its batches come, and whether they are right.

Run by `data.py`. The images are noise, made by a keyed generator, so that any image can be made again to
compare with. Each measurement runs in a process of its own, in a control group with so little memory that
hardly any of the file stays in the system's cache; before it, the file is dropped from that cache.
"""
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from hashlib import sha256
from itertools import islice
from pathlib import Path

import numpy as np
from shared import table

IMAGES = 3_495_254  # 10 GiB
LIMIT = 2**29  # bytes of memory
SHAPE = (32, 32, 3)
SIZE = 3072  # bytes of an image
BLOCK = 64  # images of one generator
BATCH = 500
COMPARED = 20  # batches of the large set
SMALL = 50_000  # images of a set that fits
PEER = 4  # the other libraries get one image in so many: to write all would take most of the time
SHARD = 20_480  # images in a file of WebDataset or litData


def told(outcome) -> str:
    "A comparison in words; None where there was nothing to compare."
    return {True: 'yes', False: 'no'}.get(outcome, 'not read to the end')


@lru_cache(64)
def block(number: int) -> np.ndarray:  # uint8 (BLOCK, 32, 32, 3)
    "Some images, the same at each call."
    from s8lib.core import keyed_generator
    noise = keyed_generator(number, *b'noise').bytes(BLOCK * SIZE)
    return np.frombuffer(noise, np.uint8).reshape(-1, *SHAPE)


def images_of(indices: Iterable[int]) -> np.ndarray:  # uint8 (B, 32, 32, 3)
    "The images at these places, made anew."
    return np.stack([block(index // BLOCK)[index % BLOCK] for index in map(int, indices)])


def span(start: int, count: int) -> np.ndarray:  # uint8 (count, 32, 32, 3)
    "Images one after the other, from the first of a block on."
    blocks = range(start // BLOCK, -(-(start + count) // BLOCK))
    return np.concatenate([block(number) for number in blocks])[:count]


def read(index: int) -> tuple[np.ndarray, str]:
    "An image in the way in which `decode_into` asks for it."
    return block(index // BLOCK)[index % BLOCK], 'RGB'


# The sets: each function writes all images into a folder.

def write_ours(folder: Path, images: int):
    "By `decode_into`, with its checksums."
    from s8lib.mapped import decode_into
    decode_into(folder, range(images), read, 'noise', share=0)


def write_arrow(folder: Path, images: int):
    "One Arrow stream, as `datasets` keeps its cache; an image is one value of bytes."
    import datasets
    import pyarrow
    kinds = dict(image=datasets.Value('binary'), label=datasets.Value('int64'))
    schema = datasets.Features(kinds).arrow_schema
    file = pyarrow.OSFile(str(folder / 'set.arrow'), 'wb')
    with file, pyarrow.ipc.new_stream(file, schema) as stream:
        for start in range(0, images, 1024):
            part = span(start, min(1024, images - start))
            ends = np.arange(0, part.nbytes + 1, SIZE, dtype=np.int32)
            buffers = [None, pyarrow.py_buffer(ends), pyarrow.py_buffer(part)]
            pixels = pyarrow.Array.from_buffers(pyarrow.binary(), len(part), buffers)
            labels = pyarrow.array(np.arange(start, start + len(part)) % 10)
            stream.write_batch(pyarrow.RecordBatch.from_arrays([pixels, labels], schema=schema))


def tar_headers(start: int, count: int, suffix: str, size: int) -> np.ndarray:  # uint8 (count, 512)
    "The headers of files of one size in a tar archive, all at once."
    names = ''.join(f'{number:09}{suffix}' for number in range(start, start + count)).encode()
    headers = np.zeros((count, 512), np.uint8)
    headers[:, :len(names) // count] = np.frombuffer(names, np.uint8).reshape(count, -1)
    fields = {100: b'0000644\0', 108: b'0000000\0', 116: b'0000000\0', 124: b'%011o\0' % size,
              136: b'00000000000\0', 148: b'        ', 156: b'0', 257: b'ustar\00000'}
    for place, value in fields.items():
        headers[:, place:place + len(value)] = np.frombuffer(value, np.uint8)
    sums = b''.join(b'%06o\0 ' % number for number in headers.sum(1, dtype=np.int64).tolist())
    headers[:, 148:156] = np.frombuffer(sums, np.uint8).reshape(count, 8)
    return headers


def write_webdataset(folder: Path, images: int):
    "Tar archives, two files a sample: the bytes of the image, and its label as a digit."
    for start in range(0, images, SHARD):
        count = min(SHARD, images - start)
        records = np.zeros((count, 512 + SIZE + 512 + 512), np.uint8)
        records[:, :512] = tar_headers(start, count, '.img', SIZE)
        records[:, 512:512 + SIZE] = span(start, count).reshape(count, SIZE)
        records[:, 512 + SIZE:1024 + SIZE] = tar_headers(start, count, '.cls', 1)
        records[:, 1024 + SIZE] = 48 + np.arange(start, start + count) % 10
        with open(folder / f'{start // SHARD:06}.tar', 'wb') as file:
            file.write(records)
            file.write(bytes(1024))


def write_litdata(folder: Path, images: int):
    "Chunks of litData: its own writer makes the first, the others are the first with other pixels."
    from litdata.streaming.writer import BinaryWriter
    images -= images % SHARD
    writer = BinaryWriter(str(folder), chunk_size=SHARD)
    for index, image in enumerate(span(0, SHARD)): writer[index] = dict(image=image, label=0)
    writer.done()
    writer.merge()
    facts = json.loads((folder / 'index.json').read_text())
    first = np.fromfile(folder / facts['chunks'][0]['filename'], np.uint8)
    content = first[4 * (SHARD + 2):].reshape(SHARD, -1)
    place = content[0].tobytes().index(block(0)[0].tobytes())
    for number in range(1, images // SHARD):
        content[:, place:place + SIZE] = span(number * SHARD, SHARD).reshape(SHARD, -1)
        first.tofile(folder / f'chunk-0-{number}.bin')
        facts['chunks'].append(facts['chunks'][0] | dict(filename=f'chunk-0-{number}.bin'))
    (folder / 'index.json').write_text(json.dumps(facts))


# The measurements: each function runs in a process with little memory and returns what is printed as JSON.

def rate(batches: Iterable, seconds: float, skipped: int = 0) -> float:  # images a second
    "How fast batches come, for some seconds; the first are skipped, as they were read ahead."
    batches = iter(batches)
    for _ in islice(batches, skipped): pass
    start = time.perf_counter()
    count = 0
    for batch in batches:
        count += len(batch)
        if time.perf_counter() - start > seconds: break
    return count / (time.perf_counter() - start)


def open_ours(folder: Path, images: int):
    "The large set: mapped images and labels by their places."
    from s8lib.data import ChannelStats, ImageSet
    pixels = np.memmap(folder / 'images.u8', np.uint8, 'r', shape=(images, *SHAPE))
    stats = ChannelStats((.5,) * 3, (.3,) * 3)
    return ImageSet(pixels, np.arange(images) % 10, tuple('abcdefghij'), 'train', stats)


def loader_of(image_set, kind: str, augment: Callable = None, batch_size: int = BATCH):
    "A loader by the name of its class; without an augmentation it yields bytes."
    from s8lib import batches, order
    epoch = order.EpochBatches(len(image_set), batch_size)
    return getattr(batches, kind)(image_set, augment or (lambda images, draw: images), epoch)


def digest(batches: Iterable) -> str:
    "SHA-256 of the bytes of some batches."
    total = sha256()
    for images in batches: total.update(np.ascontiguousarray(images))
    return total.hexdigest()


def ours_in_order(folder: Path, images: int, seconds: float) -> dict:
    from s8lib.data import parts_of
    return dict(rate=rate(map(np.array, parts_of(open_ours(folder, images).images)), seconds))


def ours_at_random(folder: Path, images: int, seconds: float) -> dict:
    "The batches of an epoch, image by image from the disk."
    loader = loader_of(open_ours(folder, images), 'StreamedBatches')
    first = digest(x for x, y in islice(loader, COMPARED))
    return dict(rate=rate((x for x, y in loader), seconds, skipped=80), digest=first)


def ours_by_a_copy(folder: Path, images: int, seconds: float) -> dict:
    "The batches of a whole epoch, with the time in which the images are put in order."
    loader = loader_of(open_ours(folder, images), 'StreamedBatches')
    loader.is_late = True
    start = time.perf_counter()
    batches = (x for x, y in loader)
    first = digest(islice(batches, COMPARED))
    sorted_after = time.perf_counter() - start
    for _ in batches: pass
    whole = time.perf_counter() - start
    return dict(rate=images / whole, sort_seconds=sorted_after, seconds=whole, digest=first)


def training_step() -> Callable:
    "A step of the network of width 16."
    import torch

    from s8lib.models.resnet import resnet18
    from s8lib.training import Trainer
    torch.manual_seed(0)
    model = resnet18(width=16)
    trainer = Trainer(model, torch.optim.SGD(model.parameters(), lr=.01))
    return lambda batch: trainer.step(*batch)


def ours_against_memory(folder: Path, images: int, seconds: float) -> dict:
    "Augmented batches, and steps of training on them: from memory, a small file and the large one."
    from s8lib.transforms import Augmentation, augment_batch
    large = open_ours(folder, images)
    small = replace(large, images=large.images[:SMALL // 5], labels=large.labels[:SMALL // 5])
    augment = partial(augment_batch, augmentation=Augmentation(), stats=large.stats)
    sets = {name: (image_set, kind) for name, image_set, kind in (
        ('memory', small, 'ResidentBatches'), ('small file', small, 'StreamedBatches'),
        ('large file', large, 'StreamedBatches'))}
    step = training_step()
    rates = {f'{what} {name}': [] for what in ('batches', 'training') for name in sets}
    for _ in range(3):
        for name, (image_set, kind) in sets.items():
            loader = loader_of(image_set, kind, augment, 128)
            rates[f'batches {name}'].append(rate(endless(loader), seconds / 3, skipped=80))
            loader = loader_of(image_set, kind, augment, 32)
            rates[f'training {name}'].append(rate(steps(loader, step), seconds / 2, skipped=2))
    return {name: statistics.median(values) for name, values in rates.items()}


def endless(loader) -> Iterator:
    "The images of epoch after epoch."
    while True: yield from (x for x, y in loader)


def steps(loader, step: Callable) -> Iterator:
    "The images of batches that were trained on."
    while True:
        for batch in loader:
            step(batch)
            yield batch[0]


def arrow(folder: Path, images: int, seconds: float) -> dict:
    import datasets
    table_of = datasets.Dataset.from_file(str(folder / 'set.arrow')).with_format('arrow')
    order = np.random.default_rng(0).permutation(images)

    def pixels(rows): return np.frombuffer(b''.join(rows['image'].to_pylist()), np.uint8).reshape(-1, *SHAPE)

    in_order = (pixels(table_of[start:start + BATCH]) for start in range(0, images, BATCH))
    at_random = (pixels(table_of[order[start:start + BATCH]]) for start in range(0, images, BATCH))
    return {'in order': rate(in_order, seconds), 'at random': rate(at_random, seconds)}


def webdataset(folder: Path, images: int, seconds: float) -> dict:
    import webdataset as library
    files = sorted(map(str, folder.glob('*.tar')))

    def batches(shuffled):
        samples = library.WebDataset(files, shardshuffle=1000 if shuffled else False, seed=0)
        if shuffled: samples = samples.shuffle(5000)
        images = samples.map(lambda sample: (np.frombuffer(sample['img'], np.uint8).reshape(SHAPE),))
        return (x for x, in images.batched(BATCH))

    return {'in order': rate(batches(False), seconds), 'at random': rate(batches(True), seconds)}


def litdata(folder: Path, images: int, seconds: float) -> dict:
    from litdata import StreamingDataset

    def batches(shuffled):
        samples = iter(StreamingDataset(str(folder), shuffle=shuffled, seed=0))
        while part := list(islice(samples, BATCH)): yield np.stack([sample['image'] for sample in part])

    return {'in order': rate(batches(False), seconds), 'at random': rate(batches(True), seconds)}


MEASURES = [ours_in_order, ours_at_random, ours_by_a_copy, ours_against_memory, arrow, webdataset, litdata]


# A process with little memory.

@contextmanager
def little_memory(limit: int) -> Iterator[tuple[Callable, str]]:
    "What a new process calls first so that its memory is limited, and how, in words."
    lines = [line.split(':', 2) for line in Path('/proc/self/cgroup').read_text().splitlines()]
    groups = [name.lstrip('/') for _, controllers, name in lines if controllers == 'memory']
    group = Path('/sys/fs/cgroup/memory', *groups[:1], f's8lib-benchmark-{os.getpid()}')
    try:
        group.mkdir()
        (group / 'memory.limit_in_bytes').write_text(str(limit))
    except OSError:
        yield (lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
               'by RLIMIT_DATA alone, so that the system could keep the files in its cache')
        return
    def enter(): (group / 'cgroup.procs').write_text(str(os.getpid()))

    try: yield enter, 'by a control group, cache included'
    finally: group.rmdir()


def drop_from_cache(folder: Path):
    "Force files to the disk, and out of the system's cache."
    for path in folder.iterdir():
        with open(path, 'rb') as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(name: str, folder: Path, images: int, seconds: float, limit: int) -> dict:
    "Call one of the `MEASURES` in a new process with little memory; an error is told, not raised."
    drop_from_cache(folder)
    command = [sys.executable, __file__, name, str(folder), str(images), str(seconds)]
    with little_memory(limit) as (preparation, words):
        answer = subprocess.run(command, capture_output=True, text=True, preexec_fn=preparation)
    print(f'{name}: {answer.stdout.strip()[-500:] or answer.stderr[-2000:] or answer.returncode}', flush=True)
    if answer.returncode: return dict(error=f'ended with {answer.returncode}', words=words)
    return json.loads(answer.stdout.splitlines()[-1]) | dict(words=words)


@contextmanager
def written(name: str, write: Callable, home: Path, images: int, times: dict) -> Iterator[Path]:
    "A folder with a set, which is removed afterwards."
    folder = home / name
    folder.mkdir()
    start = time.perf_counter()
    write(folder, images)
    times[name] = images / (time.perf_counter() - start)
    print(f'{name}: written at {times[name]:,.0f} images/s', flush=True)
    try: yield folder
    finally: shutil.rmtree(folder)


def small_batches_agree(home: Path) -> int:
    "Compare an epoch of augmented batches from memory and from a file, bit by bit; their number."
    import torch

    from s8lib.transforms import Augmentation, augment_batch
    path = home / 'images.u8'
    span(0, SMALL).tofile(path)
    in_file = open_ours(home, SMALL)
    in_memory = in_file.subset(np.arange(SMALL))
    augment = partial(augment_batch, augmentation=Augmentation(), stats=in_file.stats)
    kinds = [(in_memory, 'ResidentBatches'), (in_file, 'StreamedBatches'), (in_file, 'ResidentBatches'),
             (in_file, 'WorkerBatches')]
    count = 0
    for batches in zip(*(loader_of(images, kind, augment) for images, kind in kinds), strict=True):
        same = all(torch.equal(x, batches[0][0]) and torch.equal(y, batches[0][1]) for x, y in batches)
        if not same: raise AssertionError(f'batch {count} is another')
        count += 1
    path.unlink()
    return count


def expected_digest(images: int) -> str:
    "The digest of the first batches of the large set, made without a file."
    from s8lib.order import EpochBatches, epoch_order
    count = sum(EpochBatches(images, BATCH).sizes[:COMPARED])
    return digest([images_of(epoch_order(0, 0, images)[:count])])


PEERS = dict(  # what 'at random' is
    arrow=('`datasets` (Arrow)', 'a permutation of the whole set'),
    webdataset=('WebDataset', 'the archives, and 5,000 samples in a buffer'),
    litdata=('litData', 'the chunks, and the samples in them'))
PLACES = {'memory': 'memory', 'small file': 'a file that fits', 'large file': 'the large file, at random'}


def pages(result: dict) -> list[str]:
    "Paragraphs of what was measured."
    names = 'in_order', 'at_random', 'by_a_copy'
    in_order, at_random, by_a_copy = (result[f'ours_{name}'] for name in names)
    rows = [{'library': 's8lib', 'images/s in order': in_order.get('rate'),
             'images/s at random': at_random.get('rate'),
             'what random is': at_random.get('error', 'a permutation')},
            {'library': 's8lib, a whole epoch by a copy', 'images/s at random': by_a_copy.get('rate'),
             'what random is': 'the same permutation, with the time to put the images in order'}]
    rows += [{'library': library, 'images/s in order': result[name].get('in order'),
              'images/s at random': result[name].get('at random'),
              'what random is': result[name].get('error', kind)}
             for name, (library, kind) in PEERS.items()]
    turns = result['ours_against_memory']
    compared = [{'from': words, 'augmented batches, images/s': turns.get(f'batches {name}'),
                 'training, images/s': turns.get(f'training {name}')} for name, words in PLACES.items()]
    images, limit = (result['setting'][name] for name in ('images', 'limit'))
    same = result['same']
    return [
        '## Beyond memory',
        f'{images:,} images of 32×32×3 ({images * SIZE / 2**30:.1f} GiB) under {limit / 2**20:.0f} MiB, '
        f"limited {in_order['words']}; about 290 MiB of these are PyTorch itself. Batches of {BATCH} as "
        'uint8 arrays, in one process, and nothing is cached at the beginning. Each of the other libraries '
        f'reads the first {images // PEER:,} of the images in its own format.',
        table(rows),
        'Augmented batches of 128, and steps of a ResNet-18 of width 16 with batches of 32, from three '
        'places in turn, in one process, medians of three. It has twice the memory, which PyTorch needs to '
        'train:',
        table(compared),
        f"Bit by bit the same: {result['small_batches']} augmented batches of a set that fits, from memory, "
        f'from a file, and by workers. The first {COMPARED} batches of the large set are those made without '
        f"a file: at random {told(same['at_random'])}, by a copy {told(same['by_a_copy'])}. Decoded into its "
        f"file at {result['written']['ours']:,.0f} images/s, checksums included."]


def run(
    images: int = IMAGES,  # of each set
    limit: int = LIMIT,  # bytes of memory of a process that reads
    seconds: float = 8.,  # of one measurement
    home: str = None,  # folder of the sets, 17 GB at a time; by default that of temporary files
) -> tuple[dict, list[str]]:  # what `data.py` keeps
    "Write the sets one after the other, measure, and remove them."
    result = dict(setting=dict(images=images, limit=limit, seconds=seconds), written={})
    with tempfile.TemporaryDirectory(dir=home) as name:
        home = Path(name)
        result['small_batches'] = small_batches_agree(home)
        sets = dict(ours=write_ours, arrow=write_arrow, webdataset=write_webdataset, litdata=write_litdata)
        for name, write in sets.items():
            count = images if name == 'ours' else images // PEER
            with written(name, write, home, count, result['written']) as folder:
                for function in MEASURES:
                    if not function.__name__.startswith(name): continue
                    memory = limit * (2 if function is ours_against_memory else 1)
                    result[function.__name__] = measure(function.__name__, folder, count, seconds, memory)
    expected = expected_digest(images)
    digests = {name: result[f'ours_{name}'].get('digest') for name in ('at_random', 'by_a_copy')}
    result['same'] = {name: digest and digest == expected for name, digest in digests.items()}
    return result, pages(result)


if __name__ == '__main__':
    function = next(function for function in MEASURES if function.__name__ == sys.argv[1])
    print(json.dumps(function(Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))))
