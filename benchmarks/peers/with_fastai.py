"fastai: `ClassificationInterpretation` of the given predictions."
from given import image_files, known_network, run
import matplotlib
from fastai.vision.all import (
    CategoryBlock, ClassificationInterpretation, CrossEntropyLossFlat, DataBlock, ImageBlock, Learner,
    parent_label)
from matplotlib import pyplot

matplotlib.use('agg')


def interpretation(folder):
    "An interpretation, as from a learner that was trained elsewhere."
    files = image_files(folder)
    classes = sorted({file.parent.name for file in files})
    block = DataBlock((ImageBlock, CategoryBlock(vocab=classes)), get_items=lambda _: files,
                      get_y=parent_label, splitter=lambda items: ([0], list(range(len(items)))))
    loaders = block.dataloaders(folder, bs=256, num_workers=0)
    learner = Learner(loaders, known_network(folder), loss_func=CrossEntropyLossFlat())
    learner.remove_cbs(learner.cbs.filter(lambda each: type(each).__name__ == 'ProgressCallback'))
    return ClassificationInterpretation.from_learner(learner)


def numbers(interpretation, out):
    "The matrix as a picture, the pairs and the report as text; how many images are wrong."
    interpretation.plot_confusion_matrix(figsize=(8, 8))
    pyplot.savefig(out / 'matrix.png')
    interpretation.print_classification_report()
    return sum(count for *_, count in interpretation.most_confused())


def first(folder, out, most=9):
    "What its documentation shows: matrix, pairs, report and the nine largest losses."
    seen = interpretation(folder)
    wrong = numbers(seen, out)
    seen.plot_top_losses(most or wrong)
    pyplot.savefig(out / 'losses.png')
    return f'matrix, pairs, report, {most or wrong:,} largest losses in a picture'


run({'9 mistakes': first, 'all mistakes': lambda folder, out: first(folder, out, None)})
