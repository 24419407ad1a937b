"s8lib: the report of the given predictions, with maps of an untrained network for some or all mistakes."
import torch
from given import image_files, logits_of, run

from s8lib import explain, image_set
from s8lib.data import channel_stats
from s8lib.explanation import Explanation
from s8lib.models.resnet import resnet18
from s8lib.predictions import Predictions, misclassified
from s8lib.report import write_report
from s8lib.subjects import Subject


def given(folder):
    "The images, and the predictions on them."
    images = image_set(folder / 'test')
    images = images.with_stats(channel_stats(images))
    files = image_files(folder)
    return images, Predictions.of(logits_of(folder, files), images.labels, images.classes)


def table(folder, out):
    "What a notebook shows: accuracy, table of the classes, pairs, in text."
    images, predictions = given(folder)
    (out / 'predictions.txt').write_text(repr(predictions), encoding='utf-8')
    wrong = int((~predictions.correct).sum())
    return f'accuracy with its interval, table of the classes; {wrong:,} mistakes'


def plain(folder, out):
    "The page with all mistakes, without the network: no maps and no verdicts."
    images, predictions = given(folder)
    mistakes = misclassified(predictions, 1)
    chosen = images.images[mistakes.index.numpy()]
    explanation = Explanation(predictions, mistakes, chosen, subject=Subject(None, images))
    write_report(out, explanation, [], {}, figures=dict(confusion=explanation.plot_confusion()))
    return f'{int((~predictions.correct).sum()):,} mistakes to browse in a file'


def report(folder, out, most=10):
    "The page with all mistakes, the first of them with maps, tests of the maps and verdicts."
    images, predictions = given(folder)
    torch.manual_seed(0)
    explanation = explain(resnet18().eval(), images, predictions=predictions, num_mistakes=most)
    write_report(out, explanation, [], {})
    wrong = int((~predictions.correct).sum())
    return f'{wrong:,} mistakes to browse in a file, {len(explanation):,} with maps and verdicts'


run({'numbers': table, 'report, no maps': plain, 'report, 10 maps': report,
     'report, all maps': lambda folder, out: report(folder, out, 10_000)})
