"Lightning: what a module of its users logs to TensorBoard when it tests, of the given predictions."
import warnings

from given import known_network, run
import matplotlib
import pytorch_lightning as lightning
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix
from torchvision.datasets import ImageFolder
from torchvision.transforms import ToTensor
from torchvision.utils import make_grid

matplotlib.use('agg')
warnings.filterwarnings('ignore', '.*does not have many workers.*')


class Tested(lightning.LightningModule):
    "Keeps the mistakes with the largest losses, or all, and logs them as one picture at the end."
    def __init__(self, network, classes, most):
        super().__init__()
        self.network = network
        self.most = most
        self.accuracy = MulticlassAccuracy(len(classes), average='none')
        self.matrix = MulticlassConfusionMatrix(len(classes))
        self.classes = classes
        self.mistakes = []

    def test_step(self, batch, number):
        images, labels = batch
        logits = self.network(images)
        losses = torch.nn.functional.cross_entropy(logits, labels, reduction='none')
        wrong = logits.argmax(1) != labels
        self.mistakes += zip(losses[wrong].tolist(), images[wrong])
        self.accuracy.update(logits, labels)
        self.matrix.update(logits, labels)
        self.log('loss', losses.mean())

    def on_test_epoch_end(self):
        board = self.logger.experiment
        for name, value in zip(self.classes, self.accuracy.compute()): self.log(f'accuracy/{name}', value)
        board.add_figure('matrix', self.matrix.plot(labels=self.classes)[0])
        self.mistakes.sort(key=lambda mistake: -mistake[0])
        board.add_image('mistakes', make_grid([image for _, image in self.mistakes[:self.most]], nrow=40))


def logged(folder, out, most):
    "Test, and log."
    images = ImageFolder(folder / 'test', ToTensor())
    module = Tested(known_network(folder), images.classes, most)
    logger = TensorBoardLogger(out, name='', version='')
    trainer = lightning.Trainer(logger=logger, accelerator='cpu', enable_progress_bar=False,
                                enable_model_summary=False)
    trainer.test(module, DataLoader(images, batch_size=256), verbose=False)
    logger.finalize('success')
    count = min(most or len(module.mistakes), len(module.mistakes))
    return f'accuracy by class, matrix, {count:,} mistakes in a picture, in TensorBoard'


run({'9 mistakes': lambda folder, out: logged(folder, out, 9),
     'all mistakes': lambda folder, out: logged(folder, out, None)})
