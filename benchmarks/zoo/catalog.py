"""Image classifiers of torchvision, timm and transformers, with random weights, at their own image size.

Of timm a model of each of its families, the smallest; of transformers each family in a small configuration.
"""
import copy
from dataclasses import dataclass

import torch
from torch import nn

from .oracle import logits_in

NUM_CLASSES = 10

TORCHVISION = """
alexnet convnext_tiny convnext_small densenet121 densenet161 densenet169 densenet201 efficientnet_b0
efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5
mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small regnet_x_1_6gf
regnet_x_400mf regnet_x_800mf regnet_y_1_6gf regnet_y_400mf regnet_y_800mf resnet18 resnet34 resnet50
resnet101 resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0
squeezenet1_0 squeezenet1_1 swin_t swin_s swin_v2_t vgg11 vgg11_bn vgg13 vgg16_bn vit_b_16 vit_b_32
wide_resnet50_2
"""

TIMM = """
adv_inception_v3 bat_resnext26ts beit_base_patch16_224 botnet26t_256 caformer_s18 cait_xxs24_224 coat_tiny
coatnet_pico_rw_224 coatnext_nano_rw_224 convformer_s18 convit_tiny convmixer_768_32 convnext_atto_ols
convnextv2_atto cpubone_nano crossvit_tiny_240 cs3darknet_focus_s csatv2 cspdarknet53 cspnext_tiny
cspresnet50 cspresnext50 darknet17 darknetaa53 davit_tiny deepseek_vit_412m deit_tiny_patch16_224
densenet121 densenetblur121d dla46x_c dm_nfnet_f0 dpn48b eca_botnext26ts_256 eca_nfnet_l0 eca_resnext26ts
eca_vovnet39b ecaresnet26t ecaresnetlight ecaresnext26t_32x4d edgenext_xx_small efficientformer_l1
efficientformerv2_s0 efficientnet_lite0 efficientnetv2_rw_t efficientvim_m1 efficientvit_b0 efficientvit_m0
ens_adv_inception_resnet_v2 ese_vovnet19b_slim_dw eva02_tiny_patch14_224 eva_large_patch14_196 fasternet_t0
fastvit_t12 fbnetc_100 fbnetv3_b flexivit_small focalnet_tiny_srf gc_efficientnetv2_rw_t gcresnet33ts
gcresnext26ts gcvit_xxtiny  gernet_s ghostnet_050 ghostnetv3_050 gluon_inception_v3
gluon_resnet18_v1b gmixer_12_224 gmlp_ti16_224 halo2botnet50ts_256 halonet_h1 haloregnetz_b hardcorenas_b
hgnet_tiny hgnetv2_b0 hiera_tiny_224 hieradet_small hrnet_w18_small iformer_t inception_next_atto
inception_resnet_v2 inception_v3 inception_v4 jx_nest_tiny lambda_resnet26t lamhalobotnet50ts_256 lcnet_035
lcnetv2_small legacy_seresnet18 legacy_xception levit_128s lowformer_b0 mambaout_femto maxvit_nano_rw_256
maxxvit_rmlp_nano_rw_256 maxxvitv2_nano_rw_256 mixer_s16_224 mixnet_s mnasnet_small mobilenet_edgetpu_100
mobilenetv2_035 mobilenetv3_small_050 mobilenetv5_base mobileone_s1 mobilevit_xxs mobilevitv2_050
mvitv2_tiny naflexvit_base_patch16_parfac_gap nasnetalarge nest_tiny nextvit_small nf_regnet_b0 nfnet_l0
pit_ti_224 pnasnet5large poolformer_s12 poolformerv2_s12 pvt_v2_b0 qwen3_vit_88m rdnet_tiny regnetv_040
regnetx_006 regnety_004 regnetz_005 regnetz_b16 repghostnet_050 repvgg_a0 repvit_m1 res2next50 resmlp_12_224
resnest14d resnet10t resnet32ts resnetaa34d resnetblur18 resnetrs50 resnetv2_18d resnext26ts resnext50_32x4d
rexnet_100 rexnetr_100 sam2_hiera_tiny samvit_base_patch16_224 sebotnet33ts_256 sedarknet21 sehalonet33ts
selecsls42 semnasnet_050 sequencer2d_s seresnet18 seresnet33ts seresnetaa50d seresnext26t_32x4d
seresnext26ts shvit_s1 skresnet18 skresnext50_32x4d spnasnet_100 ssl_resnet18 starnet_s050 swiftformer_xs
swin_tiny_patch4_window7_224 swinv2_cr_tiny_224 swinv2_tiny_window8_256 swsl_resnet18 test_byobnet
test_coatnet test_convnext test_efficientnet test_mambaout test_nfnet test_resnet test_vit test_vit_relpos
tf_efficientnet_b0_ap tf_inception_v3 tf_mobilenetv3_small_075 tiny_vit_5m_224 tinynet_e
tnt_s_legacy_patch16_224 tresnet_m tv_densenet121 tv_resnet34 twins_svt_small visformer_tiny
vit_srelpos_small_patch16_224 vit_tiny_patch16_224_in21k vit_tiny_patch16_dinov3_qkvb vit_tiny_r_s16_p8_224
vitamin_small_224 volo_d1_224 vovnet39a xception xception41p xcit_tiny_12_p8_384_dist
"""

# what makes the large ones small enough for two CPU cores
SMALL = dict(depth=4, embed_dim=192, num_heads=3)
TIMM_OPTIONS = {
    'beit_base_patch16_224': SMALL, 'eva_large_patch14_196': SMALL, 'samvit_base_patch16_224': SMALL,
    'naflexvit_base_patch16_parfac_gap': SMALL, 'deepseek_vit_412m': SMALL | dict(img_size=224),
    'qwen3_vit_88m': SMALL | dict(img_size=224)}
SMALLER = 128  # for a model that takes any size: a stride of 16 gives 8x8, as 14x14 at 224 larger than 7x7
SIZES = {
    'vit_b_16': 224, 'vit_b_32': 224, 'maxvit_t': 224, 'inception_v3': 192, 'inception_v4': 192,
    'inception_resnet_v2': 192,
    'csatv2': 256, 'sam2_hiera_tiny': 224, 'nasnetalarge': 160, 'pnasnet5large': 160,
    'deepseek_vit_412m': 224, 'qwen3_vit_88m': 224, 'naflexvit_base_patch16_parfac_gap': 224}

TOKENS = dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64,
              image_size=64, patch_size=8)
WINDOWS = dict(image_size=64, patch_size=2, embed_dim=16, depths=[2, 2, 2], num_heads=[2, 2, 4],
               window_size=4)
STAGES = dict(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1])
HEADS = dict(num_attention_heads=[1, 1, 2, 2])
TEXT = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=50,
            bos_token_id=0, eos_token_id=1, pad_token_id=1)
TWO_TOWERS = dict(vision_config=TOKENS, text_config=TEXT)
LEVIT = dict(image_size=128, hidden_sizes=[32, 48, 64], num_attention_heads=[2, 3, 4], depths=[2, 2, 2],
             key_dim=[8, 8, 8])
PERCEIVER = dict(num_latents=8, d_latents=32, num_blocks=1, num_self_attends_per_block=1,
                 num_self_attention_heads=2, num_cross_attention_heads=1, image_size=64)

# name: class before `Config` and `ForImageClassification`, options of the configuration, image size
TRANSFORMERS = {
    'vit': ('ViT', TOKENS, 64),
    'deit': ('DeiT', TOKENS, 64),
    'deit distilled': ('DeiT', TOKENS, 64, 'WithTeacher'),
    'beit': ('Beit', TOKENS, 64),
    'beit relative': ('Beit', TOKENS | dict(use_relative_position_bias=True), 64),
    'data2vec-vision': ('Data2VecVision', TOKENS, 64),
    'dinov2': ('Dinov2', TOKENS | dict(mlp_ratio=2), 64),
    'dinov2 with registers': ('Dinov2WithRegisters', TOKENS | dict(mlp_ratio=2), 64),
    'vit_msn': ('ViTMSN', TOKENS, 64),
    'ijepa': ('IJepa', TOKENS, 64),
    'swin': ('Swin', WINDOWS, 64),
    'swinv2': ('Swinv2', WINDOWS, 64),
    'donut-swin': ('DonutSwin', WINDOWS, 64),
    'convnext': ('ConvNext', STAGES, 128),
    'convnextv2': ('ConvNextV2', STAGES, 128),
    'resnet': ('ResNet', STAGES | dict(embedding_size=8, layer_type='basic'), 128),
    'resnet bottleneck': ('ResNet', STAGES | dict(embedding_size=8, hidden_sizes=[16, 32, 64, 96]), 128),
    'regnet': ('RegNet', STAGES | dict(embedding_size=8, groups_width=4), 128),
    'bit': ('Bit', STAGES | dict(embedding_size=8, hidden_sizes=[32, 32, 64, 64], num_groups=4), 128),
    'mobilenet_v1': ('MobileNetV1', dict(depth_multiplier=.25, image_size=128), 128),
    'mobilenet_v2': ('MobileNetV2', dict(depth_multiplier=.35, image_size=128), 128),
    'mobilevit': ('MobileViT', dict(hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 8, 16, 16, 24, 24, 32],
                                    image_size=128, num_attention_heads=2), 128),
    'mobilevitv2': ('MobileViTV2', dict(image_size=128, width_multiplier=.25), 128),
    'efficientnet': ('EfficientNet', dict(image_size=128, width_coefficient=.25, depth_coefficient=.4,
                                          hidden_dim=320), 128),
    'levit': ('Levit', LEVIT, 128),
    'levit distilled': ('Levit', LEVIT, 128, 'WithTeacher'),
    'poolformer': ('PoolFormer', STAGES, 128),
    'pvt': ('Pvt', STAGES | HEADS | dict(image_size=128), 128),
    'pvt_v2': ('PvtV2', STAGES | HEADS | dict(image_size=128), 128),
    'cvt': ('Cvt', dict(embed_dim=[16, 24, 32], num_heads=[1, 2, 2], depth=[1, 2, 3]), 128),
    'focalnet': ('FocalNet', dict(image_size=128, embed_dim=16, depths=[1, 1, 2, 1]), 128),
    'hiera': ('Hiera', dict(image_size=[128, 128], embed_dim=16, depths=[1, 1, 2, 1],
                            num_heads=[1, 2, 2, 2]), 128),
    'segformer': ('Segformer', STAGES | HEADS, 128),
    'swiftformer': ('SwiftFormer', dict(embed_dims=[8, 16, 24, 32], depths=[1, 1, 2, 1],
                                        image_size=128), 128),
    'textnet': ('TextNet', {}, 128),
    'hgnet_v2': ('HGNetV2', {}, 128),
    'clip': ('CLIP', TWO_TOWERS, 64),
    'metaclip_2': ('MetaClip2', TWO_TOWERS, 64),
    'siglip': ('Siglip', TWO_TOWERS, 64),
    'perceiver': ('Perceiver', PERCEIVER, 64, 'ConvProcessing'),
    'timm_wrapper': ('TimmWrapper', dict(architecture='resnet10t'), 128)}


@dataclass(frozen=True)
class Entry:
    "A model to make."
    library: str
    name: str

    @property
    def key(self): return f'{self.library} {self.name}'

    def make(self) -> tuple[nn.Module, tuple[int, ...]]:
        "The model, and sides of images to try, the first that it takes."
        return globals()[f'_of_{self.library}'](self.name)


def _of_torchvision(name):
    import torchvision
    options = dict(aux_logits=False) if name in ('googlenet', 'inception_v3') else {}
    if name == 'googlenet': options['init_weights'] = True
    model = torchvision.models.get_model(name, weights=None, num_classes=NUM_CLASSES, **options)
    return model, (SIZES.get(name, SMALLER), 224)


def _of_timm(name):
    import timm
    model = timm.create_model(name, pretrained=False, num_classes=NUM_CLASSES, **TIMM_OPTIONS.get(name, {}))
    size = SIZES.get(name, model.pretrained_cfg['input_size'][-1])
    fixed = model.pretrained_cfg.get('fixed_input_size') or name in SIZES
    return model, (size,) if fixed else (min(size, SMALLER), size)


def _of_transformers(name):
    import transformers
    kind, options, size, *rest = TRANSFORMERS[name]
    suffix = 'ForImageClassification' + ''.join(rest)
    config = getattr(transformers, f'{kind}Config')(num_labels=NUM_CLASSES, **options)
    return getattr(transformers, kind + suffix)(config), (size,)


NAMES = dict(torchvision=TORCHVISION.split(), timm=TIMM.split(), transformers=TRANSFORMERS)
ENTRIES = tuple(Entry(library, name) for library, names in NAMES.items() for name in names)


def enliven(
    model: nn.Module,  # with random weights
    images: torch.Tensor,  # some, for the statistics of its BatchNorms
) -> nn.Module:
    "Make a random model answer to its image: draw weights that begin at zero, measure the statistics."
    with torch.no_grad():
        for weight in model.parameters():
            if not weight.is_floating_point() or not weight.numel(): continue
            flat = weight.abs().max() < 1e-3
            if flat and weight.ndim > 1: nn.init.normal_(weight, std=.05)
            elif flat and weight.max() > 0: weight.fill_(.5)  # a layer scale of 1e-5, say
            elif flat and weight.ndim == 1: nn.init.normal_(weight, std=.02)
        for module in model.modules():
            if not isinstance(module, nn.Conv2d): continue
            gain = module.weight.std() * module.weight[0].numel() ** .5
            if gain < .3: module.weight /= gain
        norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms: norm.momentum = 1.
        for norm in norms:
            if norm.affine and norm.weight.abs().mean() < .2: nn.init.ones_(norm.weight)
        model.train()(images)
        for norm, momentum in zip(norms, momenta): norm.momentum = momentum
        calm(model, norms, images[:1])
    return model


def calm(
    model: nn.Module,  # with random weights
    norms: list,  # its BatchNorms
    images: torch.Tensor,  # to try it on
):
    "Raise small variances until the model answers in float32 as in float64, so that a map has a right value."
    for least in (0, 1e-3, 1e-2, .1, 1.):
        for norm in norms: norm.running_var.clamp_(min=least)
        exact = logits_in(copy.deepcopy(model).double().eval()(images.double()))
        apart = (logits_in(model.eval()(images)) - exact).abs().max() / exact.abs().max()
        model.train()
        if not norms or apart < 1e-2: return
