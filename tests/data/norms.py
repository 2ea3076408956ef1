"""Writes norms.safetensors beside it: two training steps and an evaluation of PyTorch's normalisation layers, and two steps of an
embedding, in f64.

usage: python norms.py    (needs torch and safetensors)
"""

import pathlib

import torch
from safetensors.torch import save_file
from torch import nn

torch.manual_seed(1)
torch.set_default_dtype(torch.float64)
LAYERS = {
    "batch1d": (nn.BatchNorm1d(3), [5, 3]),
    "batch1d_length": (nn.BatchNorm1d(3, momentum=None), [2, 3, 4]),
    "batch1d_plain": (nn.BatchNorm1d(3, affine=False, momentum=0.3, eps=0.1), [4, 3]),
    "batch2d_untracked": (nn.BatchNorm2d(3, track_running_stats=False), [2, 3, 2, 2]),
    "batch2d_average": (nn.BatchNorm2d(2, momentum=None), [3, 2, 2, 1]),
    "batch3d": (nn.BatchNorm3d(2), [2, 2, 2, 1, 2]),
    "layer": (nn.LayerNorm(4), [3, 4]),
    "layer_dims": (nn.LayerNorm([3, 2], eps=0.1), [2, 2, 3, 2]),
    "layer_no_bias": (nn.LayerNorm(70, bias=False), [2, 70]),
    "layer_plain": (nn.LayerNorm(4, elementwise_affine=False), [3, 4]),
    "rms": (nn.RMSNorm(5), [3, 5]),
    "rms_dims": (nn.RMSNorm([2, 3], eps=0.1), [2, 2, 3]),
    "group": (nn.GroupNorm(2, 4), [3, 4, 2]),
    "group_vectors": (nn.GroupNorm(2, 6, eps=0.1), [3, 6]),
    "instance": (nn.InstanceNorm2d(3), [2, 3, 2, 3]),
}
named = {}


def keep(name, tensor):
    named[name] = tensor.detach().clone().contiguous()


for name, (layer, shape) in LAYERS.items():
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    for key, value in layer.state_dict().items():
        keep(f"{name}.state.{key}", value)
    for step in range(2):
        x = (torch.randn(shape) * (1 + step) + 0.5).requires_grad_()
        g = torch.randn(shape)
        y = layer(x)
        parameters = dict(layer.named_parameters())
        gradients = torch.autograd.grad((y * g).sum(), [x, *parameters.values()])
        keep(f"{name}.{step}.x", x)
        keep(f"{name}.{step}.g", g)
        keep(f"{name}.{step}.y", y)
        for key, gradient in zip(["x", *parameters], gradients):
            keep(f"{name}.{step}.d.{key}", gradient)
    for key, value in layer.state_dict().items():
        keep(f"{name}.after.{key}", value)
    keep(f"{name}.eval.x", torch.randn(shape))
    keep(f"{name}.eval.y", layer.eval()(named[f"{name}.eval.x"]))

embedding = nn.Embedding(6, 3, padding_idx=2)
x = torch.tensor([[1, 2, 5], [5, 5, 0]])
g = torch.randn(2, 3, 3)
y = embedding(x)
keep("embedding.weight", embedding.weight)
keep("embedding.x", x)
keep("embedding.g", g)
keep("embedding.y", y)
keep("embedding.d", torch.autograd.grad((y * g).sum(), embedding.weight)[0])

save_file(named, pathlib.Path(__file__).with_name("norms.safetensors"))
