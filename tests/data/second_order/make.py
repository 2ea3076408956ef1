"""Makes second_order.safetensors: derivatives of a small tanh network by PyTorch (CPU, f64).

    pip install torch && python make.py second_order.safetensors
"""

import json
import struct
import sys

import torch

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
names = ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
shapes = [(5, 3), (5,), (2, 5), (2,)]
weights = [torch.randn(shape, requires_grad=True) for shape in shapes]
x = torch.randn(4, 3, requires_grad=True)
y = torch.randn(4, 2)
wanted = weights + [x]
directions = [torch.randn(w.shape) for w in wanted]


def network(x):
    hidden = torch.tanh(torch.nn.functional.linear(x, weights[0], weights[1]))
    return torch.tanh(torch.nn.functional.linear(hidden, weights[2], weights[3]))


loss = torch.nn.functional.mse_loss(network(x), y)
gradients = torch.autograd.grad(loss, wanted, create_graph=True)
# Hessian times direction, all weights and the input together.
inner = sum((g * v).sum() for g, v in zip(gradients, directions))
products = torch.autograd.grad(inner, wanted)
# The penalty of WGAN-GP: (|d sum(network) / dx| - 1)^2 a row, and its gradient in the weights.
slope = torch.autograd.grad(network(x).sum(), x, create_graph=True)[0]
penalty = ((slope.square().sum(1).sqrt() - 1) ** 2).mean()
# The last bias shifts the slope through tanh's derivative, so every weight has a gradient.
penalty_gradients = torch.autograd.grad(penalty, weights)

named = {"y": y, "loss": loss, "penalty": penalty}
for name, w, g, v, p in zip(names + ["x"], wanted, gradients, directions, products):
    named |= {f"value/{name}": w, f"gradient/{name}": g, f"direction/{name}": v, f"product/{name}": p}
named |= {f"penalty/{name}": g for name, g in zip(names, penalty_gradients)}

header, data = {}, b""
for name, tensor in named.items():
    values = tensor.detach().contiguous().flatten().tolist()
    raw = struct.pack(f"<{len(values)}d", *values)
    offsets = [len(data), len(data) + len(raw)]
    header[name] = {"dtype": "F64", "shape": list(tensor.shape), "data_offsets": offsets}
    data += raw
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(sys.argv[1], "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text + data)
