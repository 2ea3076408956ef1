"""Makes optim.safetensors: what PyTorch's optimizers, clipping and schedules do with given gradients.

    python optim.py            # needs torch, numpy, safetensors

Two parameters a [7] and b [2, 3] in f64 start at `start/a`, `start/b` and get the gradients `gradient/a[t]`, `gradient/b[t]` for 20 steps;
`<case>/a`, `<case>/b` are their values after every step. `clip/...`: norms and clipped gradients of step 0. `lr/<case>`: learning rates of
60 steps; `momentum/<case>`: the momenta beside them.
"""

import os
import warnings

import numpy as np
import torch
from safetensors.numpy import save_file
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop
from torch.optim import lr_scheduler as S

warnings.filterwarnings("ignore")
STEPS = 20
rng = np.random.default_rng(7)
start = {"a": rng.normal(size=7), "b": rng.normal(size=(2, 3))}
gradient = {"a": rng.normal(size=(STEPS, 7)), "b": rng.normal(size=(STEPS, 2, 3)) * 3}
out = {f"start/{k}": v for k, v in start.items()} | {f"gradient/{k}": v for k, v in gradient.items()}


def run(make):
    params = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in start.items()}
    optimizer = make(params)
    seen = {k: [] for k in params}
    for t in range(STEPS):
        for k, p in params.items():
            p.grad = torch.tensor(gradient[k][t])
        optimizer.step()
        for k, p in params.items():
            seen[k].append(p.detach().numpy().copy())
    return {k: np.stack(v) for k, v in seen.items()}


def case(name, kind, **options):
    made = run(lambda p: kind(p.values(), foreach=False, **options))
    out.update({f"{name}/{k}": v for k, v in made.items()})


case("sgd", SGD, lr=0.1)
case("sgd_momentum", SGD, lr=0.1, momentum=0.9)
case("sgd_dampening_decay", SGD, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.05)
case("sgd_nesterov", SGD, lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.05)
case("sgd_maximize", SGD, lr=0.1, momentum=0.9, weight_decay=0.05, maximize=True)
case("adam", Adam, lr=0.01)
case("adam_decay", Adam, lr=0.01, betas=(0.3, 0.9), eps=1e-3, weight_decay=0.1)
case("adam_amsgrad", Adam, lr=0.01, betas=(0.8, 0.7), amsgrad=True)
case("adam_maximize", Adam, lr=0.01, weight_decay=0.1, amsgrad=True, maximize=True)
case("adamw", AdamW, lr=0.01)
case("adamw_amsgrad", AdamW, lr=0.01, betas=(0.8, 0.7), weight_decay=0.2, amsgrad=True)
case("adamw_maximize", AdamW, lr=0.01, weight_decay=0.2, maximize=True)
case("rms_prop", RMSprop, lr=0.01)
case("rms_prop_alpha", RMSprop, lr=0.01, alpha=0.3, eps=1e-3, weight_decay=0.1)
case("rms_prop_momentum", RMSprop, lr=0.01, momentum=0.9)
case("rms_prop_centered", RMSprop, lr=0.01, alpha=0.9, centered=True)
case("rms_prop_centered_low", RMSprop, lr=0.01, alpha=0.4, eps=1e-2, centered=True)
case("rms_prop_all", RMSprop, lr=0.01, alpha=0.95, eps=1e-4, weight_decay=0.1, momentum=0.7, centered=True, maximize=True)
case("adagrad", Adagrad, lr=0.1)
case("adagrad_all", Adagrad, lr=0.1, lr_decay=0.05, weight_decay=0.1, initial_accumulator_value=0.5, eps=1e-3)
case("adagrad_maximize", Adagrad, lr=0.1, maximize=True)
groups = run(lambda p: AdamW([{"params": [p["a"]]}, {"params": [p["b"]], "lr": 0.05, "weight_decay": 0.0}], lr=0.01, foreach=False))
out.update({f"groups/{k}": v for k, v in groups.items()})

for name, limit, kind in [("two", 2.0, 2.0), ("large", 100.0, 2.0), ("one", 1.5, 1.0), ("infinity", 0.5, float("inf")), ("three", 1.0, 3.0)]:
    params = [torch.nn.Parameter(torch.tensor(v)) for v in start.values()]
    for k, p in zip(start, params):
        p.grad = torch.tensor(gradient[k][0])
    out[f"clip/{name}/norm"] = np.array(torch.nn.utils.clip_grad_norm_(params, limit, norm_type=kind, foreach=False).item())
    out.update({f"clip/{name}/{k}": p.grad.numpy().copy() for k, p in zip(start, params)})
for p, k in zip(params, start):
    p.grad = torch.tensor(gradient[k][0])
torch.nn.utils.clip_grad_value_(params, 0.4, foreach=False)
out.update({f"clip/value/{k}": p.grad.numpy().copy() for k, p in zip(start, params)})


def lrs(name, make, lr=0.1, metrics=None, steps=60, kind=SGD, **options):
    optimizer = kind([torch.nn.Parameter(torch.zeros(1))], lr=lr, **options)
    schedule = make(optimizer)
    seen, momenta = [], []
    for t in range(steps):
        group = optimizer.param_groups[0]
        seen.append(group["lr"])
        momenta.append(group["betas"][0] if "betas" in group else group["momentum"])
        if t + 1 < steps:
            optimizer.step()
            schedule.step(*(() if metrics is None else (metrics[t],)))
    out[f"lr/{name}"] = np.array(seen)
    if name.startswith("one_cycle"):
        out[f"momentum/{name}"] = np.array(momenta)


lrs("step", lambda o: S.StepLR(o, 7, 0.3))
lrs("multi_step", lambda o: S.MultiStepLR(o, [3, 3, 11, 40], 0.7))
lrs("exponential", lambda o: S.ExponentialLR(o, 0.93), lr=0.037)
lrs("constant", lambda o: S.ConstantLR(o, 0.3, 6))
lrs("linear_up", lambda o: S.LinearLR(o, 1 / 3, 0.9, 13))
lrs("linear_down", lambda o: S.LinearLR(o, 1.0, 0.05, 45))
lrs("polynomial", lambda o: S.PolynomialLR(o, 37, 3.0))
lrs("polynomial_half", lambda o: S.PolynomialLR(o, 37, 0.9))
lrs("cosine", lambda o: S.CosineAnnealingLR(o, 17, 0.003))
lrs("cosine_restarts", lambda o: S.CosineAnnealingWarmRestarts(o, 5, 3, 0.001))
lrs("cosine_restarts_equal", lambda o: S.CosineAnnealingWarmRestarts(o, 9))
lrs("one_cycle", lambda o: S.OneCycleLR(o, 0.2, 60), momentum=0.9)
lrs("one_cycle_linear", lambda o: S.OneCycleLR(o, 0.2, epochs=10, steps_per_epoch=7, pct_start=0.21, anneal_strategy="linear",
    base_momentum=0.7, max_momentum=0.99, div_factor=10.0, final_div_factor=50.0), momentum=0.9)
lrs("one_cycle_three", lambda o: S.OneCycleLR(o, 0.3, 66, pct_start=0.4, three_phase=True), kind=Adam)
lrs("lambda", lambda o: S.LambdaLR(o, lambda t: 1.0 / (1.0 + t)))
lrs("warm_cosine", lambda o: S.SequentialLR(o, [S.LinearLR(o, 0.01, 1.0, 8), S.CosineAnnealingLR(o, 40, 1e-4)], [8]))
lrs("three_parts", lambda o: S.SequentialLR(o, [S.ConstantLR(o, 0.1, 5), S.ExponentialLR(o, 0.9), S.StepLR(o, 4, 0.5)], [5, 30]))

metrics = np.abs(np.cos(np.arange(60) * 0.37)) * np.exp(-np.arange(60) / 25) + np.where(np.arange(60) > 30, 0.2, 0.0)
metrics[17] = np.nan
out["metrics"] = metrics
lrs("plateau", lambda o: S.ReduceLROnPlateau(o, patience=3), metrics=metrics)
lrs("plateau_max", lambda o: S.ReduceLROnPlateau(o, mode="max", factor=0.5, patience=2, threshold=0.01, threshold_mode="abs",
    cooldown=2, min_lr=0.004), metrics=metrics)
lrs("plateau_abs", lambda o: S.ReduceLROnPlateau(o, factor=0.7, patience=1, threshold=0.05, threshold_mode="abs", min_lr=1e-3, eps=2e-3), metrics=metrics)
lrs("plateau_max_relative", lambda o: S.ReduceLROnPlateau(o, mode="max", factor=0.7, patience=4, cooldown=5, threshold=0.2), metrics=metrics)

save_file({k: np.ascontiguousarray(v, dtype=np.float64) for k, v in sorted(out.items())}, os.path.join(os.path.dirname(os.path.abspath(__file__)), "optim.safetensors"))
