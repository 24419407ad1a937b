"""Damage to a run's folder: bits, bytes, ends, swapped files, edited JSON, things that are no files.

Damage does not know the checksums. A forger does: `forge` changes a place of the JSON that a run is described
by, and makes every checksum fit.
"""
import hashlib
import json
import os
import random
import shutil
from pathlib import Path

from faults.strange_files import fuzzed_bytes

VALUES = (None, True, -1, 0, 1, 2**31, 2**63, 10**40, .5, float('nan'), float('inf'), '', '../../..',
          '/etc/passwd', '\0', 'a' * 10**5,
          [], {}, [[]], {'a': 1}, 'caf\udce9', '000000.model.safetensors')


def _files(run): return sorted(path for path in run.rglob('*') if path.is_file() and path.name != '.lock')


def _flip(path, draw, other):
    data = bytearray(path.read_bytes())
    if not data: return 'is empty'
    at = draw.randrange(len(data))
    data[at] ^= 1 << draw.randrange(8)
    path.write_bytes(data)
    return f'bit flipped in byte {at}'


def _bytes(path, draw, other):
    path.write_bytes(fuzzed_bytes(path.read_bytes() or b'\0', draw))
    return 'bytes changed'


def _cut(path, draw, other):
    size = draw.randrange(path.stat().st_size or 1)
    os.truncate(path, size)
    return f'cut to {size} bytes'


def _longer(path, draw, other):
    with path.open('ab') as file: file.write(draw.randbytes(draw.randrange(1, 100)))
    return 'made longer'


def _zeros(path, draw, other):
    path.write_bytes(bytes(path.stat().st_size))
    return 'all zeros'


def _of_other_run(path, draw, other):
    candidates = [each for each in _files(other) if each.suffix == path.suffix]
    same = [each for each in candidates if each.name == path.name]
    source = (same or candidates or [path])[0]
    path.write_bytes(source.read_bytes())
    return f'taken from another run ({source.name})'


def _of_same_run(path, draw, other):
    source = draw.choice([each for each in _files(path.parent) if each.suffix == path.suffix])
    path.write_bytes(source.read_bytes())
    return f'taken from {source.name}'


def _gone(path, draw, other):
    if path.name.endswith('.manifest.json'):
        return _cut(path, draw, other)  # a save without a manifest was never made
    path.unlink()
    return 'removed'


def _leaves(value, at=()):
    "Every place in a JSON value."
    yield at
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in pairs: yield from _leaves(each, (*at, key))


def edited_json(value, draw: random.Random):
    "A JSON value with one place changed, removed or doubled, and which."
    place = draw.choice(list(_leaves(value)))
    if not place: return draw.choice(VALUES), place
    parent = value
    for key in place[:-1]: parent = parent[key]
    kind = draw.randrange(3)
    if kind == 0: del parent[place[-1]]
    elif kind == 1 and isinstance(parent, dict): parent[f'{place[-1]}2'] = parent[place[-1]]
    else: parent[place[-1]] = draw.choice(VALUES)
    return value, place


def _edited(path, draw, other):
    if path.suffix != '.json': return _bytes(path, draw, other)
    value, place = edited_json(json.loads(path.read_text(encoding='utf-8')), draw)
    path.write_text(json.dumps(value), encoding='utf-8')
    return f'JSON edited at {place}'


def _no_file(path, draw, other):
    path.unlink()
    kind = draw.randrange(5)
    if kind == 0: path.mkdir()
    elif kind == 1: os.mkfifo(path)
    elif kind == 2: path.symlink_to('/dev/zero')
    elif kind == 3: path.symlink_to(path.name)
    else: path.symlink_to(other / 'nowhere')
    return ('a folder', 'a pipe', 'a link to a device', 'a link to itself', 'a dangling link')[kind]


def _deep(path, draw, other):
    if path.suffix != '.json': return _flip(path, draw, other)
    path.write_text('[' * 10**5, encoding='utf-8')
    return 'nested without end'


KINDS = [_flip] * 8 + [_bytes] * 4 + [_cut] * 4 + [_edited] * 3 + [_of_other_run] * 3 + \
    [_longer, _zeros, _of_same_run, _gone, _no_file, _deep]


class Patient:
    "A copy of a run that is damaged in one file, and healed again."
    def __init__(self, template: Path, folder: Path):
        self.template = template
        self.run = folder
        shutil.copytree(template, folder)
        self.damaged = None

    def damage(self, draw: random.Random, other: Path) -> str:
        "Damage a file, four times in five one of the checkpoints, and say how."
        folder = self.run / 'checkpoints' if draw.random() < .8 else self.run
        self.damaged = draw.choice(_files(folder)).relative_to(self.run)
        words = draw.choice(KINDS)(self.run / self.damaged, draw, other)
        return f'{self.damaged}: {words}'

    def heal(self):
        "All as it was, or a new copy where more has changed."
        path = self.run / self.damaged
        if path.is_dir() and not path.is_symlink(): path.rmdir()
        else: path.unlink(missing_ok=True)
        shutil.copy2(self.template / self.damaged, path)
        if sorted(_files(self.run)) != sorted(self.run / each.relative_to(self.template)
                                              for each in _files(self.template)):
            shutil.rmtree(self.run)
            shutil.copytree(self.template, self.run)


def forge(run: Path, draw: random.Random) -> str:
    "Change one place in what the newest manifest says or names, and make the checksums fit."
    manifest = sorted((run / 'checkpoints').glob('*.manifest.json'))[-1]
    content = json.loads(manifest.read_text(encoding='utf-8'))
    del content['sha256']
    name = draw.choice(['config.json', 'config.json', 'history.json', 'manifest'])
    if name == 'manifest': content, place = edited_json(content, draw)
    else: place = _forge_file(run / 'checkpoints', content['files'][name], draw)
    text = json.dumps(content, sort_keys=True)
    if isinstance(content, dict): content['sha256'] = hashlib.sha256(text.encode()).hexdigest()
    manifest.write_text(json.dumps(content), encoding='utf-8')
    return f'{name} forged at {place}'


def _forge_file(folder, entry, draw):
    path = folder / entry['file']
    value, place = edited_json(json.loads(path.read_text(encoding='utf-8')), draw)
    data = json.dumps(value).encode()
    path.write_bytes(data)
    entry.update(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    return place
