"""Writes quantize.safetensors: fake quantization and its gradients as PyTorch has them (needs torch and safetensors; made with 2.15).

A case `N.what`: x, scale, zero, low_high, axis (-1: per tensor), g (what the result's gradient is), y, dx, and of the learnable operations
dscale. Inputs are no ties, lie inside and outside the bounds, and are exactly representable steps nowhere; f16 and bf16 as well."""

import os
import warnings

import torch
from safetensors.torch import save_file

warnings.filterwarnings("ignore")
torch.manual_seed(15)
out, number = {}, 0


def keep(learnable, x, scale, zero, low, high, axis):
    global number
    x = x.clone().requires_grad_()
    scale = scale.clone().requires_grad_(learnable)
    if learnable:
        zeros = zero.to(torch.float32).reshape(-1)
        if axis < 0:
            y = torch._fake_quantize_learnable_per_tensor_affine(x, scale, zeros, low, high, 1.0)
        else:
            y = torch._fake_quantize_learnable_per_channel_affine(x, scale, zeros, axis, low, high, 1.0)
    elif axis < 0:
        y = torch.fake_quantize_per_tensor_affine(x, scale, zero.to(torch.int32), low, high)
    else:
        y = torch.fake_quantize_per_channel_affine(x, scale, zero.to(torch.int32), axis, low, high)
    g = torch.randn(x.shape).to(x.dtype)
    y.backward(g)
    case = {"x": x, "scale": scale, "zero": zero.to(torch.int32), "g": g, "y": y, "dx": x.grad}
    case["settings"] = torch.tensor([low, high, axis])
    if learnable:
        case["dscale"] = scale.grad
    for name, tensor in case.items():
        out[f"{number}.{name}"] = tensor.detach().clone().contiguous()
    number += 1


def inputs(shape, scale, spread):
    """No ties: at least 0.02 of a step away from them."""
    steps = torch.randint(-spread, spread + 1, shape).float() + (torch.rand(shape) - 0.5) * 0.96
    return steps * scale


for dtype in (torch.float32, torch.float16, torch.bfloat16):
    for low, high in ((-128, 127), (0, 255), (-8, 7)):
        zero = torch.tensor([(low + high) // 2 + 3])
        scale = torch.tensor([0.37])
        x = inputs((5, 6, 7), 0.37, high - low).to(dtype)
        keep(False, x, scale, zero, low, high, -1)
        scales = torch.tensor([0.02, 0.5, 3.0])
        zeros = torch.randint(low, high + 1, (3,))
        for axis, shape in ((0, (3, 8)), (1, (2, 3, 4, 4)), (2, (5, 4, 3))):
            view = [3 if d == axis else 1 for d in range(len(shape))]
            x = inputs(shape, scales.reshape(view), high - low).to(dtype)
            keep(False, x, scales, zeros, low, high, axis)
        if dtype == torch.float32:
            # Not below 0: there the backward pass of 2.15 is off by one in the zero point (it adds 0.5 and cuts).
            for at in (0, high // 2, high):
                keep(True, inputs((9, 10), 0.37, high - low), scale, torch.tensor([at]), low, high, -1)
            for axis, shape in ((0, (3, 8)), (1, (2, 3, 4, 4)), (2, (5, 4, 3))):
                view = [3 if d == axis else 1 for d in range(len(shape))]
                x = inputs(shape, scales.reshape(view), high - low)
                keep(True, x, scales, zeros, low, high, axis)

# Infinities have no gradient. (NaN: PyTorch's result is the lowest code's number, ours is 0.)
x = torch.tensor([float("inf"), float("-inf"), 1e30, 0.5])
keep(False, x, torch.tensor([0.1]), torch.tensor([3]), -128, 127, -1)
save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), "quantize.safetensors"))
print(number, "cases")
