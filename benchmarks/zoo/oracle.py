"""An answer of our own about a layer and a map: float64, hooks, finite differences and plain loops.

Nothing here is taken from the library: neither how it chooses a layer, nor its formulas, nor its copy.
"""
import copy
from collections import Counter
from collections.abc import Mapping
from contextlib import contextmanager

import torch
from torch import nn

STEPS = 1e-5, 1e-6, 1e-4, 1e-7  # of the differences, as fractions of the layer's output


def tensors_of(
    output,  # tensor, or tuples, lists and mappings of such, as a layer or a model returns it
) -> list:  # of the floating tensors
    "The floating tensors in an output."
    if isinstance(output, torch.Tensor): return [output] if output.is_floating_point() else []
    if isinstance(output, Mapping): output = list(output.values())
    return [each for part in output for each in tensors_of(part)] if isinstance(output, (tuple, list)) else []


def replaced(
    output,  # as above
    tensors: list,  # to take the places of its floating tensors; used up
):  # of the same kind
    "An output with other tensors."
    if isinstance(output, torch.Tensor): return tensors.pop(0) if output.is_floating_point() else output
    if isinstance(output, Mapping):
        other = copy.copy(output)
        for key, value in output.items(): other[key] = replaced(value, tensors)
        return other
    if not isinstance(output, (tuple, list)): return output
    parts = [replaced(part, tensors) for part in output]
    return type(output)(*parts) if hasattr(output, '_fields') else type(output)(parts)


def logits_in(output) -> torch.Tensor:  # (N, classes)
    "The logits in what a model returns: a tensor, an attribute or key, or the first of several."
    for name in ('logits', 'cls_logits'):
        if isinstance(output, Mapping) and name in output: return output[name]
        if hasattr(output, name): return getattr(output, name)
    return tensors_of(output)[0]


def positions(output: torch.Tensor, size: tuple) -> torch.Tensor:  # view (N, C, h, w)
    "A layer's output by channel and place, from the size of its map; raises `ValueError` if none fits."
    height, width = size
    if output.ndim == 4 and output.shape[2:] == (height, width): return output
    if output.ndim == 4 and output.shape[1:3] == (height, width): return output.permute(0, 3, 1, 2)
    if output.ndim == 3 and output.shape[1] >= height * width:
        return output[:, output.shape[1] - height * width:].transpose(1, 2).unflatten(2, (height, width))
    if output.ndim == 3 and output.shape[2] == height * width: return output.unflatten(2, (height, width))
    raise ValueError(f'no {height}x{width} map in {tuple(output.shape)}')


def lay_out(norm: nn.Module):
    "Give a BatchNorm its input and its gradient row by row: PyTorch 2.14.1 mixes layouts up for one image."
    def end(module, args, output):
        if output.requires_grad: output.register_hook(
            lambda gradient: gradient if gradient is None else gradient.contiguous())
    norm.register_forward_pre_hook(lambda module, args: args[0].contiguous())
    norm.register_forward_hook(end)


class Stop(Exception):
    "Ends a forward at the layer."


class Judge:
    """A copy of a model whose layer can be read and replaced.

    Whether all evidence goes through a layer is a question of equality to the bit, so float32 will do and is
    quicker. Gradients and maps are judged in float64, after `double`.
    """
    def __init__(self,
        model: nn.Module,  # copied whole
        layer: str,  # name of the layer
    ):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm): lay_out(module)
        self.layer = self.model.get_submodule(layer)
        self.finished = {}  # what modules that finish before the layer begins give for the image in hand

    @contextmanager
    def hook(self, function):
        handle = self.layer.register_forward_hook(function)
        try: yield
        finally: handle.remove()

    def logits(self, image, function=None):
        "Logits of an image, perhaps with a hook on the layer."
        if function is None: return logits_in(self.model(image.clone())).reshape(1, -1)
        with self.hook(function): return self.logits(image)

    @torch.no_grad()
    def listen(self, image, stop=False) -> tuple:
        "The logits, and what each call of the layer gives: a list of lists of tensors."
        calls = []
        def keep(module, args, output):
            calls.append([each.clone() for each in tensors_of(output)])
            if stop: raise Stop
        try: return self.logits(image, keep), calls
        except Stop: return None, calls

    def with_outputs(self, image, calls):
        "Logits of an image when the layer gives these tensors instead of its own."
        calls = iter(calls)
        def replace(module, args, output):
            if isinstance(output, torch.Tensor): return next(calls)[0].clone()
            return replaced(output, [each.clone() for each in next(calls)])
        return self.logits(image, replace)

    @torch.no_grad()
    def all_evidence(self, images) -> dict:
        "Whether the logits of all images are those of the first if the layer gives what it gave for that."
        heard = [self.listen(image[None]) for image in images]
        own = torch.cat([logits for logits, _ in heard])
        fixed = torch.cat([self.with_outputs(image[None], heard[0][1]) for image in images[1:]])
        spread = (own - own[:1]).abs().max().item()
        left = (fixed - own[:1]).abs().max().item()
        return dict(calls=len(heard[0][1]), spread=spread, left=left, scale=own.abs().max().item())

    @torch.no_grad()
    def double(self, image):
        "Go on in float64 and with this image alone; compute what finishes below the layer no more."
        self.model.double()
        given = {}
        order = []
        handles = []
        def begin(module, args): order.append(('begin', module))
        def end(module, args, output):
            order.append(('end', module))
            if isinstance(output, torch.Tensor): given[module] = output.clone()
        for module in self.model.modules():
            handles += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
        plain = self.logits(image)
        for handle in handles: handle.remove()
        before = order[:order.index(('begin', self.layer))]
        ended = [module for what, module in before if what == 'end' and module in given]
        calls = Counter(module for what, module in order if what == 'end')
        self.finished = {module: given[module] for module in ended if calls[module] == 1}
        for module, output in self.finished.items():
            module.forward = lambda *args, kept=output, **options: kept.clone()
        if (self.logits(image) - plain).abs().max() > 1e-12 * plain.abs().max(): self.release()

    def release(self):
        "Compute everything again."
        for module in self.finished: del module.forward
        self.finished = {}

    def gradient(self, image, target, moved: float = 0.) -> tuple:
        "The layer's main tensor, perhaps moved a little, a logit's gradient by it, and the other tensors."
        tensors, = self.listen(image, stop=True)[1]
        if moved: tensors[0] += moved * tensors[0].square().mean().sqrt() * torch.randn(
            tensors[0].shape, generator=torch.Generator().manual_seed(3), dtype=tensors[0].dtype)
        leaf = tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            logit = self.with_outputs(image, [[leaf, *tensors[1:]]])[0, target]
            gradient, = torch.autograd.grad(logit, leaf)
        return leaf.detach(), gradient, tensors[1:]

    @torch.no_grad()
    def slope(self, image, target, output, rest, direction, step) -> float:
        "The derivative of a logit along a direction, by central differences."
        step = step * output.square().mean().sqrt() / direction.square().mean().sqrt()
        ends = [self.with_outputs(image, [[output + sign * step * direction, *rest]])[0, target]
                for sign in (1, -1)]
        return ((ends[0] - ends[1]) / (2 * step)).item()

    def gradient_error(self, image, target, size) -> float:
        """The gradient against differences, along itself, at random, and along its strongest channel.

        Behind a ReLU many numbers are 0, and a pooling above it has a kink there, where no difference is the
        gradient. Then the gradient is judged a little beside the output.
        """
        for moved in (0., .01):
            error = self._gradient_error(image, target, size, moved)
            if error < 1e-3: break
        return error

    def _gradient_error(self, image, target, size, moved):
        output, gradient, rest = self.gradient(image, target, moved)
        channel = torch.zeros_like(output)
        strongest = positions(gradient, size).mean((0, 2, 3)).abs().argmax()
        positions(channel, size)[:, strongest] = 1
        noise = torch.randn(output.shape, generator=torch.Generator().manual_seed(4), dtype=output.dtype)
        errors = []
        for direction in (gradient, noise, channel):
            if not direction.any(): continue
            expected = (direction * gradient).sum().item()
            natural = direction.norm().item() * gradient.norm().item() / direction.numel() ** .5
            tried = []
            for step in STEPS:
                slope = self.slope(image, target, output, rest, direction, step)
                tried.append(abs(slope - expected) / max(abs(expected), natural, 1e-300))
                if tried[-1] < 1e-4: break
            errors.append(min(tried))
            if errors[-1] > 1e-2: break
        return max(errors, default=0.)

    @torch.no_grad()
    def place_agreement(self, image, size) -> float:
        "How much more the cells of a changed quarter of the image answer than the others; the least of four."
        generator = torch.Generator().manual_seed(5)
        plain = positions(self.listen(image, stop=True)[1][0][0], size)
        def quarter(sides, down, across):
            return [slice(side // 2, None) if later else slice(0, side // 2)
                    for side, later in zip(sides, (down, across))]
        quarters = [(down, across) for down in (False, True) for across in (False, True)]
        answers = []
        for place in quarters:
            answer = torch.zeros(size)
            for _ in range(4):
                changed = image.clone()
                part = changed[:, :, *quarter(image.shape[2:], *place)]
                part += torch.randn(part.shape, generator=generator, dtype=image.dtype)
                heard = positions(self.listen(changed, stop=True)[1][0][0], size)
                answer += (heard - plain).abs().sum((0, 1)).float()
            answers.append(answer)
        answers = torch.stack(answers)
        answers = answers / answers.mean(0).clamp(min=1e-30)  # some cells answer to everything
        return min((answer[*quarter(size, *place)].mean() / answer.mean()).item()
                   for answer, place in zip(answers, quarters))


def gradcam_by_loops(
    output: torch.Tensor,  # of the layer, one image
    gradient: torch.Tensor,  # of the logit by it
    size: tuple,  # of the map
) -> tuple:  # the map (h, w), and the largest sum of absolute terms at a place
    "Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2), a number at a time."
    height, width = size
    rows = range(height)
    columns = range(width)
    total = [[0.] * width for _ in rows]
    terms = [[0.] * width for _ in rows]
    channels = zip(positions(output, size)[0].tolist(), positions(gradient, size)[0].tolist())
    for activations, gradients in channels:
        weight = 0.
        for i in rows:
            for j in columns: weight += gradients[i][j]
        weight /= height * width
        for i in rows:
            for j in columns:
                total[i][j] += weight * activations[i][j]
                terms[i][j] += abs(weight * activations[i][j])
    positive = [[max(value, 0.) for value in line] for line in total]
    return torch.tensor(positive, dtype=torch.float64), max(map(max, terms))
