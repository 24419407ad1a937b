"""What a given time buys: each recipe is laid out for so many minutes on this machine, trained, and tested.

    python benchmarks/minutes.py --data-dir FOLDER --minutes 34  # FOLDER/{train,test}/<class>
    python benchmarks/minutes.py --data-dir FOLDER --minutes 3 --width 16 --rows fast,muon16,peer --seeds 5
    python benchmarks/minutes.py --data-dir FOLDER --minutes 3 --width 16 --rows fast,muon16 --labels FILE
    python benchmarks/minutes.py --data-dir FOLDER --minutes 3 --num-images 2000 --rows batches64,batches16,\\
        batches32,batches128 --seeds 2 --valid --num-tested 5000

Nothing else may run beside it. The recipes take turns within each seed. The seconds are those of measuring
the plan, of all steps, and of the one test at the end; loading the images is not in them. Each finished run
is kept in the result file and not repeated. How far the first recipe is above another one is taken seed by
seed. The accuracy is that of the last epoch, plain, on the test images, which choose nothing; with --valid,
on half of the training images, which is held out. With --labels the images have the labels of a table of
path,label, those that are tested on too; the result says how many of the training labels differ from the
folders.
"""
import time
from collections import Counter
from pathlib import Path
from statistics import mean

from fastcore.script import call_parse
from recipe import PEER, accuracy_cells, fitted, interval, load_images
from shared import RESULTS, begun_result, describe, table, words, write_result

from s8lib.compute import pick_compute
from s8lib.data import stratified_split
from s8lib.options import Options
from s8lib.planning import plan_minutes

SIZES = 64, 16, 32, 128  # of batches where there are few images
ROWS = dict(
    fast=dict(recipe='fast'),
    muon=dict(recipe='muon'),
    muon16=dict(recipe='muon', precision='fastest'),
    assignment=dict(recipe='assignment'),
    peer=PEER | dict(recipe='assignment', epochs=None, precision='fastest'),
    **{f'batches{size}': dict(recipe='fast', batch_size=size) for size in SIZES})
NEVER = 10**6  # but at the end
WHAT = dict(
    fast='`fast`', muon='`muon`', muon16='`muon`', assignment='`assignment`', peer='KellerJordan/cifar10-zoo',
    **{f'batches{size}': f'`fast`, batches of {size}' for size in SIZES})


def trained(options, train_set, test_set):
    "What came of a training that was laid out for its minutes."
    options = options.filled()
    compute = pick_compute(options.device, options.precision)
    start = time.perf_counter()
    plan, _ = plan_minutes(options, train_set, compute, len(test_set))
    laid_out = time.perf_counter() - start
    accuracy = fitted(plan, train_set, compute).test(test_set).accuracy
    return dict(
        accuracy=accuracy, seconds=round(time.perf_counter() - start), plan_seconds=round(laid_out, 1),
        epochs=plan.epochs, resizing=plan.resizing, precision=str(compute.dtype).removeprefix('torch.'))


def unlike_folders(image_set):
    "Share of the images whose label is not the name of their folder."
    given = [image_set.classes[label] for label in image_set.labels]
    return mean(Path(name).parent.name != label for name, label in zip(image_set.names, given))


def plans(runs):
    "The plans that were laid out, as text, with the number of runs where there are several."
    def plan(run):
        epochs = '1 epoch' if run['epochs'] == 1 else f"{run['epochs']} epochs"
        return epochs + f", {run['resizing']}" * (run['resizing'] != 'none')
    numbers = Counter(map(plan, runs))
    return '; '.join(plan + f' ({number} of {len(runs)})' * (len(numbers) > 1)
                     for plan, number in numbers.items())


def advantage(runs, others):
    "What the first runs are above others of the same seeds, with its 95% interval, as text."
    mine, theirs = ({run['seed']: run['accuracy'] for run in each} for each in (runs, others))
    differences = [mine[seed] - theirs[seed] for seed in mine.keys() & theirs.keys()]
    if runs is others or not differences: return '–'
    return f'{mean(differences):+.2%}' + f' {interval(differences)}' * (len(differences) > 1)


def rows_of(runs):
    "A row for each recipe, in the order of `ROWS`."
    names = [name for name in ROWS if any(run['name'] == name for run in runs)]
    groups = {name: sorted((run for run in runs if run['name'] == name), key=lambda run: run['seed'])
              for name in names}
    title = f'{WHAT[names[0]]} is above it by'
    rows = []
    for name, own in groups.items():
        used = mean(run['seconds'] / 60 / run['minutes'] for run in own)
        rows.append({'recipe': WHAT[name], 'minutes': f"{own[0]['minutes']:g}", 'plan': plans(own),
                     'number format': own[0]['precision'],
                     'time used': f'{used:.0%}'}
                    | accuracy_cells([run['accuracy'] for run in own])
                    | ({title: advantage(groups[names[0]], own)} if names[1:] else {}))
    return rows


@call_parse
def main(
    data_dir: str = None,  # holds {train,test}/<class>/*; by default the drawn shapes
    data_name: str = None,  # what to call these data in the result
    minutes: float = 34,  # for each training
    rows: str = 'fast,muon',  # of `ROWS`
    width: int = 64,  # channels of the stem; 64 is the published network
    num_images: int = 0,  # of the training images; 0 for all
    num_tested: int = 0,  # of those that are tested on; 0 for all
    seeds: int = 1,  # runs of each row
    first_seed: int = 0,  # of them, so that several commands can share the work
    valid: bool = False,  # measure on half of the training images, held out
    labels: str = None,  # table of path,label of all images, which goes before their folders' names
    name: str = None,  # of the result files; by default minutes-N, with width, images and table where given
    out: str = RESULTS,  # folder of the result files
):
    "Measure what a given time buys."
    parts = (f'minutes-{minutes:g}', f'width-{width}' * (width != 64), num_images and f'of-{num_images}',
             labels and Path(labels).stem)
    name = name or '-'.join(filter(None, parts))
    train_set, test_set = load_images(data_dir, num_images, valid, labels)
    if num_tested: test_set = stratified_split(test_set, num_tested / len(test_set), 0)[1]
    setting = dict(data=data_name or ('images of a folder' if data_dir else 'shapes'), width=width,
                   train_images=len(train_set), minutes=minutes,
                   tested_on=f'{len(test_set):,} {"held-out training" if valid else "test"} images')
    if labels:
        share = unlike_folders(train_set)
        setting['labels'] = f'{Path(labels).stem}, of which {share:.1%} are unlike the folders'
    setting['machine'] = describe(pick_compute().device)
    result = begun_result(name, setting, out)
    for seed in range(first_seed, first_seed + seeds):
        for row in rows.split(','):
            if any((run['name'], run['seed']) == (row, seed) for run in result['runs']): continue
            options = Options(**ROWS[row], width=width, seed=seed, minutes=minutes, test_every=NEVER)
            run = dict(name=row, seed=seed, minutes=minutes) | trained(options, train_set, test_set)
            print(words(run), flush=True)
            result['runs'].append(run)
            write_result(name, result, [words(result['setting']), table(rows_of(result['runs']))], out)
