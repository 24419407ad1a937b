"""Other people's models explained without naming a layer: classifiers, memory, reported situations.

    pip install -e '.[benchmark]'
    python benchmarks/models.py                     # everything, about half an hour on two cores
    python benchmarks/models.py zoo situations      # some of the parts
    python benchmarks/models.py zoo --only swin     # models whose name holds a word; nothing is written
    python benchmarks/models.py zoo --again wrong   # the trials with this verdict once more

The models have random weights; nothing is downloaded. Each model's outcome is a line of `models-trials.jsonl`
beside the results as soon as it is known, and a run that was stopped goes on with the models that are
missing; lines of another state of the library's code do not count. What is checked about a model, and with
which oracle, is said in `benchmarks/zoo`. The exit code is 1 if a map was wrong, a trace left, or a model
neither explained nor refused by name.
"""
import hashlib
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

from fastcore.script import call_parse
from shared import RESULTS, describe, read_result, table, words, write_result
from zoo.catalog import ENTRIES
from zoo.memory import measure_memory
from zoo.pool import in_a_process, prepare, run_all
from zoo.situations import judge_all
from zoo.trial import trial

MAKERS = [f's8lib.{name}' for name in ('core', 'memory', 'interface', 'untouched', 'scores', 'formulas',
                                       'layers', 'evidence', 'methods', 'gradcam')]
PARTS = 'zoo', 'memory', 'situations'
GOOD = 'right', 'right, rounded', 'blank', 'refused'  # verdicts that are no failure
MADE = 'right', 'right, rounded', 'blank'
NOTE = ('Each model is in training mode, with a frozen parameter and a gradient that waits for an optimizer, '
        'and is explained by `cam(model, images, classes)`. *Right*: a fixed output of the layer makes the '
        'logits of all images the same (all evidence goes through the layer), the gradient agrees with '
        'central differences of the logits in float64, the map agrees with plain loops over activations and '
        'gradients to 1e-3 of its peak in float32 (*rounded*: to 1e-6 in float64 only), where the '
        'map is read from tokens or from channels that come last, a changed quarter of the image changes its '
        'quarter of the map most, and model, modes, hooks, buffers and gradients are as before. '
        '*Blank*: the oracle finds no positive evidence either.')


def read_trials(path: Path, key: dict) -> dict:
    "The lines under this key, by library and name; a line that was cut off is left out."
    rows = {}
    for line in path.read_text(encoding='utf-8').splitlines() if path.exists() else []:
        try: row = json.loads(line)
        except ValueError: continue
        if row.get('key') == key: rows[row['library'], row['name']] = row
    return rows


def tell(count, total, entry, row):
    "A line for a model."
    error = row.get('error')
    facts = [row.get('layer', ''), row.get('map', ''), f'{error:.0e}' if error is not None else '',
             row.get('message', '')[:120]]
    print(f"{count}/{total} {entry.key}: {row['verdict']} {' '.join(filter(None, facts))}", flush=True)


def make_trials(entries, path: Path, key: dict, jobs: int, limit: float, keep: bool) -> dict:
    "The trials that are missing, each written as it is made."
    rows = read_trials(path, key) if keep else {}
    missing = [entry for entry in entries if (entry.library, entry.name) not in rows]
    random.Random(0).shuffle(missing)  # so that a part of them is a sample
    done = len(entries) - len(missing)
    with (path if keep else Path('/dev/null')).open('a', encoding='utf-8') as file:
        file.write('\n')  # after a line that was cut off
        for (entry,), facts in run_all([(entry,) for entry in missing], jobs, limit, trial):
            row = dict(library=entry.library, name=entry.name) | facts | dict(key=key)
            rows[entry.library, entry.name] = row
            file.write(json.dumps(row, default=str) + '\n')
            file.flush()
            done += 1
            tell(done, len(entries), entry, row)
    return rows


def by_library(rows: list) -> list:
    "Verdicts of each library, and of all."
    groups = {library: [row for row in rows if row['library'] == library]
              for library in dict.fromkeys(row['library'] for row in rows)}
    lines = []
    for library, group in {**groups, 'all': rows}.items():
        counts = Counter(row['verdict'] for row in group)
        made = sum(counts[verdict] for verdict in MADE)
        maps = [row for row in group if row.get('layer')]
        lines.append({'library': library, 'models': str(len(group)), 'made, on the path': str(made),
                      'share': f'{made / len(group):.1%}', 'of these blank': str(counts['blank']),
                      'refused by name': str(counts['refused']),
                      'wrong or in doubt': str(sum(counts.values()) - made - counts['refused']),
                      'larger than 7x7': str(sum(min(map(int, row['map'].split('x'))) > 7 for row in maps)),
                      'largest error': max((row['error'] for row in group if row['verdict'] == 'right'),
                                           default=None)})
    return lines


def layers_table(rows: list) -> str:
    "Model, layer, map and outcome, a line each."
    lines = [{'library': row['library'], 'model': row['name'], 'size': str(row.get('size', '')),
              'layer': row.get('layer', ''), 'map': row.get('map', ''), 'outcome': row['verdict'],
              'error': row.get('error'), 'why not': in_words(row)} for row in rows]
    return table(lines)


def in_words(row: dict) -> str:
    "What stands beside an outcome that is no map."
    text = ' '.join(f"{row.get('error_name', '')} {row.get('message', '')}".split()).replace('|', r'\|')
    return text if row['verdict'] not in MADE else ''


def zoo_part(rows: list) -> list:
    "Paragraphs about the models."
    failures = [f"- {row['library']} {row['name']}: {row['verdict']} {in_words(row)}" for row in rows
                if row['verdict'] not in GOOD]
    verdict = '\n'.join(failures) or 'No map is wrong, no trace is left, and every refusal has a name.'
    return ['## Models', NOTE, table(by_library(rows)), verdict, '## The layer of each model',
            layers_table(rows)]


def code_of_maps() -> str:
    "A short digest of the modules that a map is made by: trials of other code do not count."
    digest = hashlib.sha256()
    for name in MAKERS:
        if name in sys.modules: digest.update(Path(sys.modules[name].__file__).read_bytes())
    return digest.hexdigest()[:12]


def forget(path: Path, outcome: str):
    "Leave out the lines with this verdict."
    lines = path.read_text(encoding='utf-8').splitlines() if path.exists() else []
    path.write_text('\n'.join(line for line in lines if f'"verdict": "{outcome}"' not in line) + '\n')


def setting_of(key: dict, jobs: int, seconds: float) -> dict:
    "What to state beside the figures."
    command = ' '.join(['python', 'benchmarks/models.py', *sys.argv[1:]])
    machine = describe('cpu', 'timm', 'transformers', 'torchmetrics')
    return dict(command=command, **key, jobs=jobs, seconds=round(seconds), machine=machine)


def failures_of(result: dict) -> list:
    "What is wrong, in words."
    models = [f"{row['library']} {row['name']}: {row['verdict']} {in_words(row)}"
              for row in result.get('zoo', []) if row['verdict'] not in GOOD]
    others = [failure for part in ('memory', 'situations')
              for failure in result.get(part, {}).get('failures', [])]
    return models + others


def report(result: dict, out: Path) -> bool:  # whether anything is wrong
    "Write and print what there is."
    page = ['# Models of others', f"{words(result['setting'])}."]
    for part, title in (('memory', '## Memory'), ('situations', '## Reported situations')):
        if part in result: page += [title, table(result[part]['rows']), *lines_of(result[part]['failures'])]
    failures = failures_of(result)
    if 'zoo' in result: page += zoo_part(sorted(result['zoo'], key=lambda row: (row['library'], row['name'])))
    write_result('models', result, page, out)
    print(*page[:6], sep='\n\n')
    print(f'{len(failures)} failures', *failures, sep='\n')
    return bool(failures)


def lines_of(failures: list) -> list:
    "A paragraph with a line for each failure, or none."
    return ['\n'.join(f'- {failure}' for failure in failures)] if failures else []


@call_parse
def main(
    *names: str,  # parts; by default all
    only: str = '',  # models of the zoo whose library and name hold this word; nothing is written
    again: str = '',  # make the trials with this verdict once more
    fresh: bool = False,  # begin the zoo anew
    seed: int = 0,  # of weights, images and classes
    jobs: int = 2,  # models at a time
    limit: float = 240.,  # seconds for a model
    out: Path = RESULTS,  # folder of the results
):
    "Explain other people's models without naming a layer, and judge the maps by an oracle of its own."
    unknown = sorted(set(names) - set(PARTS))
    if unknown: sys.exit(f'there is no part {", ".join(unknown)}; there are: {", ".join(PARTS)}')
    start = time.perf_counter()
    entries = [entry for entry in ENTRIES if only.lower() in entry.key.lower()]
    key = dict(code=code_of_maps(), seed=seed)
    path = out / 'models-trials.jsonl'
    if fresh: path.unlink(missing_ok=True)
    if again: forget(path, again)
    result = read_result('models', out) or {}
    if result.get('setting', {}).get('code') != key['code']: result = {}
    parts = names or PARTS
    if 'zoo' in parts: result['zoo'] = [*make_trials(entries, path, key, jobs, limit, keep=not only).values()]
    if only: sys.exit()
    for part, measure in (('memory', measure_memory), ('situations', judge_all)):
        if part in parts: result[part] = in_a_process(prepare(), 3600, measure)
    result['setting'] = setting_of(key, jobs, time.perf_counter() - start)
    sys.exit(report(result, out))
