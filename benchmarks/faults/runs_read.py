"""A run's folder, read without the library: what the newest manifest names, and what TensorBoard would show.

Two runs are the same if their tensors are, name by name and bit by bit, their JSON is (but for times, places
and the number of workers), and the scalars in their event files are, step by step.
"""
import hashlib
import json
from pathlib import Path

from safetensors import safe_open

FREE = {'seconds', 'runs_dir', 'workers', 'resume', 'progress', 'data_dir', 'folder', 'identity', 'number',
        'file', 'sha256',
        'bytes', 'log', 'launch', 'resumed', 'time', 'date', 'started', 'compute', 'device_name'}


def newest_manifest(run: Path) -> dict | None:
    "The newest manifest of a run, or None where nothing was saved."
    paths = sorted((run / 'checkpoints').glob('*.manifest.json'))
    return json.loads(paths[-1].read_text(encoding='utf-8')) if paths else None


def tensors_digest(path: Path) -> str:
    "SHA-256 of names, types, shapes and bytes of a safetensors file."
    digest = hashlib.sha256()
    with safe_open(path, framework='np') as file:
        for name in sorted(file.keys()):
            value = file.get_tensor(name)
            digest.update(f'{name} {value.dtype} {value.shape}'.encode() + value.tobytes())
    return digest.hexdigest()


def without_free(value):
    "JSON without what may differ between two runs that are the same."
    if isinstance(value, dict):
        return {name: without_free(each) for name, each in value.items() if name not in FREE}
    return [without_free(each) for each in value] if isinstance(value, list) else value


def contents(run: Path) -> dict:
    "Name to digest or value of everything that the newest manifest names, and its facts."
    manifest = newest_manifest(run)
    found = dict(facts=without_free(manifest['facts']))
    for name, entry in manifest['files'].items():
        path = run / 'checkpoints' / entry['file']
        if path.suffix == '.safetensors': found[name] = tensors_digest(path)
        else: found[name] = without_free(json.loads(path.read_text(encoding='utf-8')))
    return found


def scalars(run: Path) -> dict:
    "Folder and tag to (step, value) pairs in the order of the event files, times left out."
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    found = {}
    for path in sorted(run.rglob('events.out.tfevents.*')):
        part = path.parent.relative_to(run).as_posix()
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.HasField('tensor') and value.tensor.float_val:
                    point = (event.step, value.tensor.float_val[0])
                    found.setdefault(f'{part}/{value.tag}', []).append(point)
    return {tag: pairs for tag, pairs in found.items() if tag != './epoch/seconds'}


def differences(run: Path, reference: Path) -> list:
    "What differs between two finished runs, in words; nothing if they are the same."
    ours = contents(run)
    theirs = contents(reference)
    words = [f'{name} differs' for name in sorted(ours.keys() | theirs.keys())
             if ours.get(name) != theirs.get(name)]
    words += [f'{path.name} was left' for path in run.rglob('*.part')]
    ours = scalars(run)
    theirs = scalars(reference)
    for tag in sorted(ours.keys() | theirs.keys()):
        if ours.get(tag) != theirs.get(tag):
            words.append(f'scalars {tag}: {_steps(ours.get(tag))} instead of {_steps(theirs.get(tag))}')
    return words


def _steps(pairs): return None if pairs is None else [step for step, _ in pairs]
