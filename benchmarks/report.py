"""The report: how long it takes to write, how large it is, and how fast a browser shows and filters it.

    python benchmarks/report.py                # the drawn sets of all sizes, one after the other
    python benchmarks/report.py --only small   # 1,000 mistakes of 32 pixels in 10 classes

A narrow network with random weights is wrong about nearly every drawn image, whose labels are random: what is
measured is the page, not the network. Maps, verdicts and neighbours are made before the clock starts. The
browser is Chromium, driven by Playwright; a filter is timed from the choice to the next frame that shows it.
"""
import shutil
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from fastcore.script import call_parse
from shared import RESULTS, describe, table, words, write_result

from s8lib.choices import stem_for
from s8lib.data import ImageSet, channel_stats
from s8lib.explanation import explain
from s8lib.models.resnet import resnet18
from s8lib.report import write_report
from s8lib.shapes import shapes
from s8lib.subjects import Subject

CASES = dict(  # mistakes, classes, pixels
    small=(1000, 10, 32), many=(10_000, 100, 32), large=(300, 10, 224))
REPEATS = 5
EXPLAINED = 1000  # mistakes that have maps and verdicts, as in `save_report`


def labelled(split: str, count: int, classes: int, size: int) -> ImageSet:
    "Drawn images under random labels."
    drawn = shapes(split, min(count, 2000), size=size)
    places = np.arange(count) % len(drawn)
    labels = np.random.default_rng(0).integers(0, classes, count)
    names = tuple(f'{split}/{label:03}/{number:05}.png' for number, label in enumerate(labels))
    classes = tuple(f'class number {label}' for label in range(classes))
    images = ImageSet(drawn.images[places], labels, classes, split, names=names)
    return images.with_stats(channel_stats(images))


def explained(count, classes, size):
    "An explanation of a network that makes so many mistakes."
    test_set = labelled('test', count * 12 // 10, classes, size)
    train_set = labelled('train', 1000, classes, size)
    torch.manual_seed(0)
    model = resnet18(num_classes=classes, width=4, stem=stem_for((size, size))).eval()
    return explain(Subject(model, test_set, train_set), num_mistakes=min(count, EXPLAINED))


def in_browser(page: Path) -> dict:
    "First paint, loading and the median of a filter, in milliseconds."
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which('chromium'), args=['--no-sandbox'])
        tab = browser.new_page(viewport=dict(width=1200, height=900))
        start = perf_counter()
        tab.goto(page.as_uri())
        tab.locator('#deck-mistakes .card').first.wait_for()
        ready = 1000 * (perf_counter() - start)
        paint = tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        filters = [tab.evaluate(FILTER, number) for number in range(REPEATS)]
        browser.close()
    return {'first paint, ms': round(paint), 'first card, ms': round(ready),
            'filter, ms': round(float(np.median(filters)))}


FILTER = """async number => {
  const select = document.querySelectorAll('#deck-mistakes select')[number % 2]
  const start = performance.now()
  select.selectedIndex = 1 + number
  select.dispatchEvent(new Event('input', {bubbles: true}))
  await new Promise(done => requestAnimationFrame(() => setTimeout(done)))
  return performance.now() - start
}"""


def measured(name):
    "The row of a case."
    count, classes, size = CASES[name]
    explanation = explained(count, classes, size)
    with tempfile.TemporaryDirectory() as folder:
        start = perf_counter()
        page = write_report(folder, explanation, [], {})
        seconds = perf_counter() - start
        wrong = int((~explanation.predictions.correct).sum())
        row = dict(mistakes=f'{wrong:,}', explained=f'{len(explanation.mistakes):,}', classes=classes,
                   pixels=size, seconds=f'{seconds:.1f}', MB=f'{page.stat().st_size / 1e6:.1f}')
        return row | in_browser(page)


@call_parse
def main(
    only: str = None,  # names of cases, with a comma between them
    out: str = RESULTS,  # folder of the result files
):
    "Measure the report."
    setting = dict(machine=describe('cpu', 'playwright'))
    rows = [measured(name) for name in (only.split(',') if only else CASES)]
    print(write_result('report', dict(setting=setting, rows=rows), [words(setting), table(rows)], out))
