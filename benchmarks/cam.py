"""Class activation maps beside grad-cam, torchcam and captum: time, memory, agreement, in-place layers.

    pip install grad-cam==1.5.7 torchcam==0.5.0 captum==0.9.0
    python benchmarks/cam.py                      # one thread of the CPU
    python benchmarks/cam.py --device cuda

Everything is measured in one process, the variants in turn within each repetition; times are medians.
"""
from functools import partial
from pathlib import Path

import pytorch_grad_cam
import torch
import torch.nn.functional as F
import torchcam.methods
import torchvision
from captum.attr import LayerGradCam
from fastcore.script import call_parse
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from shared import RESULTS, describe, median_seconds, table, words, write_result
from torch import nn

from s8lib.gradcam import cam, contrast
from s8lib.models.resnet import resnet18

# method of s8lib: the same in torchcam, if it is there, and in grad-cam
SAME_METHOD = {
    'gradcam': ('GradCAM', 'GradCAM'),
    'gradcam++': ('GradCAMpp', 'GradCAMPlusPlus'),
    'hirescam': (None, 'HiResCAM'),
    'xgradcam': ('XGradCAM', 'XGradCAM'),
    'layercam': ('LayerCAM', 'LayerCAM'),
    'scorecam': ('ScoreCAM', 'ScoreCAM'),
    'ablationcam': (None, 'AblationCAM'),
    'eigencam': (None, 'EigenCAM'),
}
NOTE = ("Not everything is defined alike. torchcam's Grad-CAM++ divides a masked copy, so its alphas stay "
        'undivided; grad-cam adds 1e-6 to the denominator there. In Score-CAM torchcam scales its masks '
        "before upsampling them, and grad-cam aligns corners. grad-cam's EigenCAM centres the "
        'activations.')


def torchcam_maps(model, layer, images, targets, method='GradCAM'):
    "Raw maps of torchcam, one (N, h, w) for each column of `targets`."
    with getattr(torchcam.methods, method)(model, layer) as extractor:
        logits = model(images)
        last = targets.shape[1] - 1
        keep = [{'retain_graph': k < last} if 'Score' not in method else {} for k in range(last + 1)]
        return [extractor(column.tolist(), logits, normalized=False, **options)[0].relu()
                for column, options in zip(targets.T, keep)]


def captum_maps(model, layer, images, targets):
    "Raw maps of captum."
    explain = LayerGradCam(model, layer)
    return [explain.attribute(images, target=column, relu_attributions=True)[:, 0] for column in targets.T]


def grad_cam_maps(model, layer, images, targets, method='GradCAM'):
    "Maps of grad-cam, upsampled and scaled from 0 to 1 as it returns them."
    with getattr(pytorch_grad_cam, method)(model=model, target_layers=[layer]) as explain:
        columns = [[ClassifierOutputTarget(int(target)) for target in column] for column in targets.T]
        return [explain(images, targets=column) for column in columns]


def forward_only(model, images):
    "The yardstick."
    with torch.no_grad(): return model(images)


def saved_bytes(run, model):
    "Bytes that autograd saves for the backward in one call, each storage once, without the model's own."
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    saved = {}
    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own: saved[storage.data_ptr()] = storage
        return tensor
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor): run()
    return sum(storage.nbytes() for storage in saved.values())


def make_variants(model, images, pairs):
    "What is measured, by name: calls without arguments."
    layer = model.features
    first = pairs[:, :1]
    variants = {
        'no_grad forward': partial(forward_only, model, images),
        's8lib cam, 1 target': partial(cam, model, images, first, layer),
        's8lib cam, 2 targets': partial(cam, model, images, pairs, layer),
        's8lib contrast': partial(contrast, model, images, pairs, layer),
    }
    for name, maps in (('torchcam', torchcam_maps), ('captum', captum_maps), ('grad-cam', grad_cam_maps)):
        variants[f'{name}, 1 target'] = partial(maps, model, layer, images, first)
        variants[f'{name}, 2 targets'] = partial(maps, model, layer, images, pairs)
    return variants


def measure_cost(device, batch, repeats):
    "Median seconds, ratio to a `no_grad` forward and MiB of saved graph for each variant, on ResNet-18."
    torch.manual_seed(0)
    model = resnet18().eval().to(device)
    images = torch.randn(batch, 3, 32, 32, device=device)
    variants = make_variants(model, images, torch.randint(0, 10, (batch, 2), device=device))
    memory = {name: saved_bytes(run, model) / 2**20 for name, run in variants.items()}  # also the warm-up
    seconds = median_seconds(variants, repeats, device)
    base = seconds['no_grad forward']
    return [{'variant': name, 'seconds': value, 'ratio': value / base, 'saved MiB': memory[name]}
            for name, value in seconds.items()]


def difference(maps, truth):
    "The largest difference as a fraction of the peak, over all maps that are not blank."
    maps, truth = (torch.as_tensor(values).double().cpu().flatten(1) for values in (maps, truth))
    errors = (maps - truth).abs().amax(1) / truth.amax(1)
    return errors[truth.amax(1) > 0].max().item()


def as_grad_cam(maps, size):
    "Maps (N, h, w) as grad-cam returns them: upsampled, and scaled from 0 to 1."
    large = F.interpolate(maps[:, None], size=size, mode='bilinear')[:, 0]
    large = large - large.amin((1, 2), keepdim=True)
    return large / large.amax((1, 2), keepdim=True)


def measure_agreement(device):
    "Largest differences to the peers for each method that they have too; grad-cam's on its own scale."
    torch.manual_seed(0)
    model = resnet18(width=16).eval().to(device)
    with torch.no_grad(): model.head.linear.weight *= 30  # away from the peers' epsilons
    images = torch.randn(8, 3, 32, 32, device=device)
    asked = model, model.features, images, model(images).argmax(1, keepdim=True)
    rows = []
    for method, (in_torchcam, in_grad_cam) in SAME_METHOD.items():
        ours = cam(model, images, asked[-1], 'features', method).maps[:, 0]
        row = {'method': method,
               'grad-cam': difference(as_grad_cam(ours, 32).cpu(), grad_cam_maps(*asked, in_grad_cam)[0])}
        if in_torchcam: row['torchcam'] = difference(torchcam_maps(*asked, in_torchcam)[0], ours)
        if method == 'gradcam': row['captum'] = difference(captum_maps(*asked)[0].detach(), ours)
        rows.append(row)
    return rows


def resnet_in_place():
    "A ResNet, a layer whose output is changed in place, and its output with the rest of the forward."
    resnet = torchvision.models.resnet18(num_classes=10).eval()
    block = resnet.layer3[1]
    below = nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool, resnet.layer1, resnet.layer2,
                          resnet.layer3[0])
    def parts(x):
        x = below(x).detach()
        output = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
        return output, lambda output: resnet.fc(resnet.layer4(torch.relu(output + x)).mean((2, 3)))
    return resnet, block.bn2, parts


def vgg_in_place():
    "The same of a VGG."
    vgg = torchvision.models.vgg11_bn(num_classes=10).eval()
    def above(output): return vgg.classifier(vgg.avgpool(vgg.features[27:](output)).flatten(1))
    def parts(x): return vgg.features[:27](x), above
    return vgg, vgg.features[26], parts


def exact_gradcam(parts, images, targets):
    "Grad-CAM computed from the pieces in float64."
    output, above = parts(images.double())
    activations = output.detach().requires_grad_()
    gradients, = torch.autograd.grad(above(activations.clone()).gather(1, targets).sum(), activations)
    return (gradients.mean((2, 3), keepdim=True) * activations).sum(1).relu().detach()


def measure_in_place():
    "Errors against the exact Grad-CAM, as a fraction of the peak."
    torch.manual_seed(0)
    images = torch.randn(4, 3, 64, 64)
    targets = torch.tensor([[0], [1], [2], [3]])
    models = {'torchvision vgg11_bn, last BatchNorm': vgg_in_place(),
              'torchvision resnet18 layer3[-1].bn2': resnet_in_place()}
    rows = []
    for name, (model, layer, parts) in reversed(models.items()):
        maps = {'s8lib': cam(model, images, targets, layer).maps[:, 0],
                'torchcam': torchcam_maps(model, layer, images, targets)[0],
                'captum': captum_maps(model, layer, images, targets)[0].detach()}
        large = grad_cam_maps(model, layer, images, targets)[0]
        model.double()
        truth = exact_gradcam(parts, images, targets)
        row = {'layer': name} | {library: difference(values, truth) for library, values in maps.items()}
        rows.append(row | {'grad-cam': difference(large, as_grad_cam(truth, 64))})
    return rows


@call_parse
def main(
    device: str = 'cpu',  # 'cpu' or 'cuda'
    batch: int = 100,  # images in a forward
    repeats: int = 9,  # of which the median is taken
    out: Path = RESULTS,  # folder of the results
):
    "Class activation maps beside grad-cam, torchcam and captum: time, memory, agreement."
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    machine = describe(device, 'grad-cam', 'torchcam', 'captum')
    setting = dict(batch=batch, repeats=repeats, machine=machine)
    result = {'setting': setting, 'cost': measure_cost(device, batch, repeats),
              'agreement': measure_agreement(device), 'in place': measure_in_place()}
    page = ['# Class activation maps, side by side',
            f'ResNet-18 of s8lib at 32x32, layer `features` (8x8). {words(setting)}.',
            '## Cost', table(result['cost']),
            '## Largest difference to s8lib, fraction of the peak', NOTE, table(result['agreement']),
            '## Error on a layer whose output is changed in place, fraction of the peak, against float64',
            table(result['in place'])]
    print(write_result(f'cam-{"gpu" if device == "cuda" else "cpu"}', result, page, out))
