"""Class activation maps beside grad-cam, torchcam and captum: time, memory of the saved graph, agreement, in-place layers.

    pip install grad-cam==1.5.7 torchcam==0.5.0 captum==0.9.0
    python benchmarks/cam.py                      # one thread of the CPU
    python benchmarks/cam.py --device cuda

Everything is measured in one process, the variants in turn within each repetition; times are medians.
"""
import argparse
import json
import platform
import statistics
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytorch_grad_cam
import torch
import torch.nn.functional as F
import torchcam.methods
import torchvision
from captum.attr import LayerGradCam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from s8lib.gradcam import cam, contrast
from s8lib.models.resnet import resnet18

SAME_METHOD = {'gradcam': ('GradCAM', 'GradCAM'), 'gradcam++': ('GradCAMpp', 'GradCAMPlusPlus'), 'hirescam': (None, 'HiResCAM'),
               'xgradcam': ('XGradCAM', 'XGradCAM'), 'layercam': ('LayerCAM', 'LayerCAM'), 'scorecam': ('ScoreCAM', 'ScoreCAM'),
               'ablationcam': (None, 'AblationCAM'), 'eigencam': (None, 'EigenCAM')}

NOTE = ("Not everything is defined alike. torchcam's Grad-CAM++ divides a masked copy, so its alphas stay undivided; grad-cam adds 1e-6 to the "
        "denominator there. In Score-CAM torchcam scales its masks before upsampling them, and grad-cam aligns corners. grad-cam's EigenCAM centres "
        "the activations.")


def torchcam_maps(model, layer, images, targets, method='GradCAM'):
    "Raw maps of torchcam, one (N, h, w) for each column of `targets`."
    with getattr(torchcam.methods, method)(model, layer) as extractor:
        logits, last = model(images), targets.shape[1] - 1
        keep = [{'retain_graph': k < last} if 'Score' not in method else {} for k in range(last + 1)]
        return [extractor(targets[:, k].tolist(), logits, normalized=False, **keep[k])[0].relu() for k in range(last + 1)]


def captum_maps(model, layer, images, targets):
    "Raw maps of captum."
    explain = LayerGradCam(model, layer)
    return [explain.attribute(images, target=column, relu_attributions=True)[:, 0] for column in targets.T]


def grad_cam_maps(model, layer, images, targets, method='GradCAM'):
    "Maps of grad-cam, upsampled and scaled from 0 to 1 as it returns them."
    with getattr(pytorch_grad_cam, method)(model=model, target_layers=[layer]) as explain:
        return [explain(images, targets=[ClassifierOutputTarget(int(target)) for target in column]) for column in targets.T]


def forward_only(model, images):
    "The yardstick."
    with torch.no_grad(): return model(images)


def time_of(run, device):
    "Seconds of one call."
    if device == 'cuda': torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device == 'cuda': torch.cuda.synchronize()
    return time.perf_counter() - start


def saved_bytes(run, model):
    "Bytes that autograd saves for the backward in one call, each storage once, without the model's own tensors."
    own, saved = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}, {}
    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own: saved[storage.data_ptr()] = storage
        return tensor
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor): run()
    return sum(storage.nbytes() for storage in saved.values())


def measure_cost(device, batch, repeats):
    "Median seconds, ratio to a `no_grad` forward and MiB of saved graph for each variant, on ResNet-18."
    torch.manual_seed(0)
    model = resnet18().eval().to(device)
    images, pairs = torch.randn(batch, 3, 32, 32, device=device), torch.randint(0, 10, (batch, 2), device=device)
    layer, one = model.features, pairs[:, :1]
    variants = {'no_grad forward': partial(forward_only, model, images),
                's8lib cam, 1 target': lambda: cam(model, images, one, layer), 's8lib cam, 2 targets': lambda: cam(model, images, pairs, layer),
                's8lib contrast': lambda: contrast(model, images, pairs[:, 0], pairs[:, 1], layer)}
    for name, maps in (('torchcam', torchcam_maps), ('captum', captum_maps), ('grad-cam', grad_cam_maps)):
        variants[f'{name}, 1 target'] = partial(maps, model, layer, images, one)
        variants[f'{name}, 2 targets'] = partial(maps, model, layer, images, pairs)
    memory = {name: saved_bytes(run, model) / 2**20 for name, run in variants.items()}   # also the warm-up
    seconds = {name: [] for name in variants}
    for _ in range(repeats):
        for name, run in variants.items(): seconds[name].append(time_of(run, device))
    base = statistics.median(seconds['no_grad forward'])
    return [{'variant': name, 'seconds': statistics.median(times), 'ratio': statistics.median(times) / base, 'saved MiB': memory[name]}
            for name, times in seconds.items()]


def difference(found, truth):
    "The largest difference as a fraction of the peak, over all maps that are not blank."
    found, truth = (torch.as_tensor(maps).double().cpu().flatten(1) for maps in (found, truth))
    errors = (found - truth).abs().amax(1) / truth.amax(1)
    return errors[truth.amax(1) > 0].max().item()


def measure_agreement(device):
    "Largest differences to the peers for each method that they have too; grad-cam's on its own scale."
    torch.manual_seed(0)
    model = resnet18(width=16).eval().to(device)
    with torch.no_grad(): model.head.linear.weight *= 30   # away from the peers' epsilons
    images = torch.randn(8, 3, 32, 32, device=device)
    targets, rows = model(images).argmax(1, keepdim=True), []
    for method, (in_torchcam, in_grad_cam) in SAME_METHOD.items():
        ours = cam(model, images, targets, 'features', method)
        large = F.interpolate(ours.maps, size=32, mode='bilinear')[:, 0].cpu()
        large = large - large.amin((1, 2), keepdim=True)
        row = {'method': method, 'grad-cam': difference(large / large.amax((1, 2), keepdim=True), grad_cam_maps(model, model.features, images, targets, in_grad_cam)[0])}
        if in_torchcam: row['torchcam'] = difference(torchcam_maps(model, model.features, images, targets, in_torchcam)[0], ours.maps[:, 0])
        if method == 'gradcam': row['captum'] = difference(captum_maps(model, model.features, images, targets)[0].detach(), ours.maps[:, 0])
        rows.append(row)
    return rows


def pieces():
    "Two models with a layer whose output is changed in place, the layer, its output and the rest of the forward."
    vgg, resnet = torchvision.models.vgg11_bn(num_classes=10).eval(), torchvision.models.resnet18(num_classes=10).eval()
    block = resnet.layer3[1]
    below = nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool, resnet.layer1, resnet.layer2, resnet.layer3[0])
    def resnet_parts(x):
        x = below(x).detach()
        return block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x))))), lambda a: resnet.fc(resnet.layer4(torch.relu(a + x)).mean((2, 3)))
    def vgg_parts(x):
        return vgg.features[:27](x), lambda a: vgg.classifier(vgg.avgpool(vgg.features[27:](a)).flatten(1))
    return {'torchvision resnet18 layer3[-1].bn2': (resnet, block.bn2, resnet_parts), 'torchvision vgg11_bn, last BatchNorm': (vgg, vgg.features[26], vgg_parts)}


def measure_in_place():
    "Errors against Grad-CAM computed from the pieces in float64, as a fraction of the peak."
    torch.manual_seed(0)
    images, targets, rows = torch.randn(4, 3, 64, 64), torch.tensor([[0], [1], [2], [3]]), []
    for name, (model, layer, parts) in pieces().items():
        found = {'s8lib': cam(model, images, targets, layer).maps[:, 0], 'torchcam': torchcam_maps(model, layer, images, targets)[0],
                 'captum': captum_maps(model, layer, images, targets)[0].detach()}
        large = grad_cam_maps(model, layer, images, targets)[0]
        output, above = parts(images.double()) if model.double() else None
        activations = output.detach().requires_grad_()
        gradients, = torch.autograd.grad(above(activations.clone()).gather(1, targets).sum(), activations)
        truth = (gradients.mean((2, 3), keepdim=True) * activations).sum(1).relu().detach()
        scaled = F.interpolate(truth[:, None], size=64, mode='bilinear')[:, 0]
        scaled = scaled - scaled.amin((1, 2), keepdim=True)
        row = {'layer': name, **{library: difference(maps, truth) for library, maps in found.items()}}
        rows.append({**row, 'grad-cam': difference(large, scaled / scaled.amax((1, 2), keepdim=True))})
    return rows


def hardware(device):
    "The processor's name, without the machine's."
    if device == 'cuda': return torch.cuda.get_device_name()
    info = Path('/proc/cpuinfo')
    names = [line.split(':')[1].strip() for line in info.read_text().splitlines() if line.startswith('model name')] if info.exists() else []
    return names[0] if names else platform.machine()


def table(rows):
    "A Markdown table; fractions get two digits."
    keys = list(dict.fromkeys(key for row in rows for key in row))
    def text(value): return '' if value is None else value if isinstance(value, str) else f'{value:.3g}'
    lines = [keys, ['---'] * len(keys), *[[text(row.get(key)) for key in keys] for row in rows]]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', default='cpu', choices=['cpu', 'cuda'])
    parser.add_argument('--batch', type=int, default=100)
    parser.add_argument('--repeats', type=int, default=9)
    parser.add_argument('--out', type=Path, default=Path(__file__).parent / 'results')
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    setting = {'hardware': hardware(arguments.device), 'threads': 1, 'batch': arguments.batch, 'repeats': arguments.repeats,
               'python': platform.python_version(), **{name: version(name) for name in ('torch', 'torchvision', 'grad-cam', 'torchcam', 'captum')}}
    result = {'setting': setting, 'cost': measure_cost(arguments.device, arguments.batch, arguments.repeats),
              'agreement': measure_agreement(arguments.device), 'in place': measure_in_place()}
    page = ['# Class activation maps, side by side', 'ResNet-18 of s8lib at 32x32, layer `features` (8x8). ' + ', '.join(f'{name} {value}' for name, value in setting.items()) + '.',
            '## Cost', table(result['cost']), '## Largest difference to s8lib, fraction of the peak', NOTE, table(result['agreement']),
            '## Error on a layer whose output is changed in place, fraction of the peak, against float64', table(result['in place'])]
    name = f'cam-{"gpu" if arguments.device == "cuda" else "cpu"}'
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / f'{name}.json').write_text(json.dumps(result, indent=1) + '\n')
    (arguments.out / f'{name}.md').write_text('\n\n'.join(page) + '\n')
    print('\n\n'.join(page))


if __name__ == '__main__': main()
