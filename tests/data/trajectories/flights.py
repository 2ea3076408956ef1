"""The flights_lstm run of trajectories.json in 80-bit floats (numpy's longdouble on x86-64), which says how far an f64 run can be
right (docs/adr/005-flights-trajectory.md). Shares no code with Ferrotape: forward and backward through time by hand.

usage: python flights.py OUT.safetensors     makes flights.safetensors (a minute or two)
       python flights.py --compare           prints losses' distances from that file: recorded, numpy f64, torch f64

flights.safetensors holds, rounded to f64, 200 losses each:
  exact      the run, Adam's learning rate being 0.01
  again      the same with the rows of the batch in the opposite order: how far the 80-bit run itself is right
  slow       with a learning rate of 0.001: a run that is not chaotic
"""

import pathlib
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).parent
RECORD = load_file(HERE / "trajectories.safetensors")
START = {name.split("/")[2]: value for name, value in RECORD.items() if name.startswith("flights_lstm/init/")}
RECORDED = RECORD["flights_lstm/loss_f64"]
STEPS, MONTHS, HIDDEN = 200, 12, 32


def windows(real, opposite=False):
    lines = (HERE / "../../../examples/data/flights.csv").read_text().split("\n")[1:]
    series = np.array([int(line.split(",")[2]) for line in lines if line], dtype=real)
    mean = series.sum() / real(len(series))
    series = (series - mean) / np.sqrt(((series - mean) ** 2).sum() / real(len(series) - 1))
    count = len(series) - MONTHS
    x, y = np.stack([series[t : t + count] for t in range(MONTHS)]), series[MONTHS:]
    return (x[:, ::-1], y[::-1, None]) if opposite else (x, y[:, None])


def weights(real):
    joined = lambda part, axis: np.concatenate([START[part + gate] for gate in "figo"], axis).astype(real)
    return [joined("W", 1), joined("b", 0), START["fc.weight"].astype(real), START["fc.bias"].astype(real)]


def gradients(real, parameters, x, y):
    """The loss and its gradients."""
    w, b, fc_w, fc_b = parameters
    one, rows = real(1), y.shape[0]
    logistic = lambda x: one / (one + np.exp(-x))
    h = c = np.zeros((rows, HIDDEN), real)
    steps = []
    for t in range(MONTHS):
        u = np.concatenate([h, x[t][:, None]], 1)
        z = u @ w + b
        f, i, g, o = [part(z[:, k * HIDDEN : (k + 1) * HIDDEN]) for k, part in enumerate([logistic, logistic, np.tanh, logistic])]
        before, c = c, f * c + i * g
        tanh = np.tanh(c)
        h = o * tanh
        steps.append((u, f, i, g, o, before, tanh))
    error = h @ fc_w.T + fc_b - y
    loss = (error * error).sum() / real(rows)
    dy = real(2) * error / real(rows)
    found = [np.zeros_like(w), np.zeros_like(b), dy.T @ h, dy.sum(0)]
    dh, dc = dy @ fc_w, np.zeros_like(h)
    for u, f, i, g, o, before, tanh in reversed(steps):
        dc = dc + dh * o * (one - tanh * tanh)
        parts = [dc * before * f * (one - f), dc * g * i * (one - i), dc * i * (one - g * g), dh * tanh * o * (one - o)]
        dz = np.concatenate(parts, 1)
        found[0] += u.T @ dz
        found[1] += dz.sum(0)
        dh, dc = (dz @ w.T)[:, :HIDDEN], dc * f
    return loss, found


def run(real, rate=0.01, opposite=False, watch=lambda *_: None):
    """The losses; constants are the f64 numbers that every program gets."""
    x, y = windows(real, opposite)
    parameters = weights(real)
    first, second = ([np.zeros_like(p) for p in parameters] for _ in range(2))
    lr, b1, b2, eps, one = real(rate), real(0.9), real(0.999), real(1e-8), real(1)
    losses = []
    for step in range(1, STEPS + 1):
        loss, found = gradients(real, parameters, x, y)
        losses.append(loss)
        watch(parameters, found)
        for k, g in enumerate(found):
            first[k] = b1 * first[k] + (one - b1) * g
            second[k] = b2 * second[k] + (one - b2) * g * g
            root = np.sqrt(second[k] / (one - b2**step)) + eps
            parameters[k] = parameters[k] - lr * (first[k] / (one - b1**step)) / root
    return np.array(losses)


def by_torch(rate=0.01):
    import torch

    torch.set_num_threads(1)
    x, y = windows(np.float64)
    w, b, fc_w, fc_b = (torch.tensor(p) for p in weights(np.float64))
    # Ours are f i g o, PyTorch's i f g o.
    order = torch.cat([torch.arange(HIDDEN) + HIDDEN * gate for gate in (1, 0, 2, 3)])
    lstm, fc = torch.nn.LSTM(1, HIDDEN, dtype=torch.float64), torch.nn.Linear(HIDDEN, 1, dtype=torch.float64)
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(w[HIDDEN:, order].T)
        lstm.weight_hh_l0.copy_(w[:HIDDEN, order].T)
        lstm.bias_ih_l0.copy_(b[order])
        lstm.bias_hh_l0.zero_()
        fc.weight.copy_(fc_w)
        fc.bias.copy_(fc_b)
    lstm.bias_hh_l0.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in [*lstm.parameters(), *fc.parameters()] if p.requires_grad], lr=rate)
    x, y = torch.tensor(x).unsqueeze(2), torch.tensor(y)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(fc(lstm(x)[1][0][0]), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


def main():
    if sys.argv[1] != "--compare":
        assert np.finfo(np.longdouble).nmant >= 63, "this machine's longdouble is no 80-bit float"
        runs = {"exact": {}, "again": {"opposite": True}, "slow": {"rate": 0.001}}
        save_file({name: run(np.longdouble, **options).astype(np.float64) for name, options in runs.items()}, sys.argv[1])
        return
    exact = load_file(HERE / "flights.safetensors")
    rows = {
        "recorded": (RECORDED, "exact"),
        "torch f64": (by_torch(), "exact"),
        "numpy f64": (run(np.float64), "exact"),
        "numpy f64, opposite": (run(np.float64, opposite=True), "exact"),
        "80 bits, opposite": (exact["again"], "exact"),
        "numpy f64, rate 0.001": (run(np.float64, 0.001), "slow"),
        "torch f64, rate 0.001": (by_torch(0.001), "slow"),
    }
    places = [0, 5, 10, 14, 15, 16, 18, 20, 25, 30, 40, 60, 100, 150, 199]
    print(f"{'largest so far, at step':<24}", *(f"{place:>7}" for place in places), "  first beyond 1e-8")
    for name, (losses, to) in rows.items():
        apart = np.maximum.accumulate(np.abs(losses - exact[to]) / exact[to])
        beyond = int(np.argmax(apart > 1e-8)) if apart[-1] > 1e-8 else "none"
        print(f"{name:<24}", *(f"{apart[place]:>7.0e}" for place in places), f"  {beyond}")


main()
