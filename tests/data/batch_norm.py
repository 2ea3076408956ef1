"""Writes batch_norm.safetensors beside it: three training steps and an evaluation of torch.nn.BatchNorm2d, in f64.

usage: python batch_norm.py    (needs torch)
"""

import json
import pathlib
import struct

import torch

torch.manual_seed(0)
named = {}
norm = torch.nn.BatchNorm2d(3, dtype=torch.float64)
with torch.no_grad():
    norm.weight.copy_(torch.tensor([0.5, -1.5, 2.0]))
    norm.bias.copy_(torch.tensor([0.25, 0.0, -3.0]))
named["weight"], named["bias"] = norm.weight.detach().clone(), norm.bias.detach().clone()
for step in range(3):
    x = (torch.randn(4, 3, 3, 5, dtype=torch.float64) * (1 + step) + 0.5 * step).requires_grad_()
    g = torch.randn(4, 3, 3, 5, dtype=torch.float64)
    y = norm(x)
    dx, dw, db = torch.autograd.grad((y * g).sum(), [x, norm.weight, norm.bias])
    after = {"mean": norm.running_mean.clone(), "var": norm.running_var.clone()}
    for name, tensor in {"x": x, "g": g, "y": y, "dx": dx, "dw": dw, "db": db, **after}.items():
        named[f"{step}.{name}"] = tensor.detach()
norm.eval()
x = torch.randn(2, 3, 2, 2, dtype=torch.float64).requires_grad_()
y = norm(x)
named["eval.x"], named["eval.y"] = x.detach(), y.detach()
named["eval.dx"] = torch.autograd.grad((y**2).sum(), x)[0]

header, data = {}, b""
for name, tensor in named.items():
    raw = struct.pack(f"<{tensor.numel()}d", *tensor.flatten().tolist())
    offsets = [len(data), len(data) + len(raw)]
    header[name] = {"dtype": "F64", "shape": list(tensor.shape), "data_offsets": offsets}
    data += raw
text = json.dumps(header, separators=(",", ":")).encode()
text += b" " * (-len(text) % 8)
path = pathlib.Path(__file__).with_name("batch_norm.safetensors")
path.write_bytes(struct.pack("<Q", len(text)) + text + data)
