"FiftyOne: a dataset of the given predictions, evaluated, and its app."
import math
import os
import socket
import sys
import time
from urllib.request import urlopen

os.environ |= dict(FIFTYONE_DATABASE_DIR=f'{sys.argv[2]}-database', FIFTYONE_DO_NOT_TRACK='true')

from given import image_files, logits_of, run  # noqa: E402
import fiftyone  # noqa: E402
from fiftyone import ViewField  # noqa: E402
from scipy.special import log_softmax  # noqa: E402


def sample(file, names, logits, scores):
    "An image with its label, what is said of it, and its loss."
    said = scores.argmax()
    true = fiftyone.Classification(label=file.parent.name)
    predicted = fiftyone.Classification(label=names[said], confidence=math.exp(scores[said]), logits=logits)
    loss = -float(scores[names.index(true.label)])
    return fiftyone.Sample(str(file), ground_truth=true, predictions=predicted, loss=loss)


def evaluated(folder, out):
    "A dataset, its evaluation, matrix and report; the view of the mistakes, the largest loss first."
    files = image_files(folder)
    names = sorted({file.parent.name for file in files})
    logits = logits_of(folder, files)
    samples = [sample(file, names, *rows) for file, *rows in zip(files, logits, log_softmax(logits, 1))]
    dataset = fiftyone.Dataset('given', overwrite=True)
    dataset.add_samples(samples, progress=False)
    results = dataset.evaluate_classifications('predictions', 'ground_truth', eval_key='eval', progress=False)
    results.print_report()
    results.plot_confusion_matrix(backend='matplotlib').savefig(out / 'matrix.png')
    return dataset.match(ViewField('eval') == False).sort_by('loss', reverse=True)  # noqa: E712


def evaluation(folder, out):
    mistakes = evaluated(folder, out)
    kind = fiftyone.types.FiftyOneDataset
    mistakes.export(export_dir=str(out / 'mistakes'), dataset_type=kind, progress=False)
    return f'report, matrix; {len(mistakes):,} mistakes exported with images and JSON'


def app(folder, out):
    "The app shows the mistakes, as soon as its server answers."
    mistakes = evaluated(folder, out)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    session = fiftyone.launch_app(mistakes, remote=True, address='127.0.0.1', port=port)
    while True:
        try:
            urlopen(f'http://127.0.0.1:{port}').read()
            break
        except OSError: time.sleep(.1)
    return f'report, matrix; {len(session.view):,} mistakes to browse in the app of a server'


run({'evaluation': evaluation, 'app': app})
