"""Makes more.safetensors: PyTorch's optimizers without a kernel of ours, and averages of weights.

    python more.py             # needs torch, numpy, safetensors, and optim.safetensors beside it

Start and gradients are those of optim.safetensors; see optim.py for the names. `ema/..`, `swa/..`: the averaged model after every step of
SGD(0.1).
"""

import os

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch.optim import NAdam, RAdam, Adadelta, Adamax
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

STEPS = 20
torch.set_default_dtype(torch.float64)  # of NAdam's mu_product, which is in f32 otherwise
here = os.path.dirname(os.path.abspath(__file__))
old = load_file(os.path.join(here, "optim.safetensors"))
start = {k: old[f"start/{k}"] for k in "ab"}
gradient = {k: old[f"gradient/{k}"] for k in "ab"}
out = {}


def run(make, average=None):
    params = torch.nn.ParameterDict({k: torch.nn.Parameter(torch.tensor(v)) for k, v in start.items()})
    optimizer = make(params)
    averaged = average and average(params)
    seen = {k: [] for k in params}
    for t in range(STEPS):
        for k, p in params.items():
            p.grad = torch.tensor(gradient[k][t])
        optimizer.step()
        if averaged:
            averaged.update_parameters(params)
        for k, p in (averaged.module if averaged else params).items():
            seen[k].append(p.detach().numpy().copy())
    return {k: np.stack(v) for k, v in seen.items()}


def case(name, kind, **options):
    made = run(lambda p: kind(p.values(), foreach=False, **options))
    out.update({f"{name}/{k}": v for k, v in made.items()})


case("adadelta", Adadelta, lr=1.0)
case("adadelta_all", Adadelta, lr=0.5, rho=0.7, eps=1e-3, weight_decay=0.1, maximize=True)
case("adamax", Adamax, lr=2e-3)
case("adamax_all", Adamax, lr=0.01, betas=(0.8, 0.7), eps=1e-3, weight_decay=0.1, maximize=True)
case("nadam", NAdam, lr=2e-3)
case("nadam_all", NAdam, lr=0.01, betas=(0.8, 0.7), eps=1e-3, weight_decay=0.1, momentum_decay=0.05, maximize=True)
case("nadam_decoupled", NAdam, lr=0.01, weight_decay=0.2, decoupled_weight_decay=True)
case("radam", RAdam, lr=1e-3)
case("radam_all", RAdam, lr=0.01, betas=(0.8, 0.7), eps=1e-3, weight_decay=0.1, maximize=True)
case("radam_decoupled", RAdam, lr=0.01, betas=(0.9, 0.99), weight_decay=0.2, decoupled_weight_decay=True)

sgd = lambda p: torch.optim.SGD(p.values(), lr=0.1)
for name, average in [("ema", lambda p: AveragedModel(p, multi_avg_fn=get_ema_multi_avg_fn(0.9))), ("swa", AveragedModel)]:
    out.update({f"{name}/{k}": v for k, v in run(sgd, average).items()})

save_file(out, os.path.join(here, "more.safetensors"))
