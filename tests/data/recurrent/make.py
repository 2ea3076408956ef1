"""Makes recurrent.safetensors with PyTorch (f64, CPU): outputs, last states and all gradients of LSTM, GRU and RNN.

One tensor a case, named by its options: output, h_n, c_n (LSTM), then the gradients of x, h_0, c_0 and of the parameters in the
state dict's order, one after the other. The loss is the sum of the results times weights. All numbers that go in come from
`numbers`, so that they need not be stored.

usage: python make.py OUT.safetensors
"""

import itertools
import math
import sys

import torch
from safetensors.torch import save_file

STEPS, BATCH, INPUT, HIDDEN, PROJECTION = 4, 3, 2, 3, 2
LENGTHS = [2, 4, 3]


def numbers(shape, seed, scale):
    count = math.prod(shape)
    values = [((i * 7919 + seed * 104729 + 13) % 2003 - 1001) / 1001 * scale for i in range(count)]
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


def layer(kind, layers, directions, bias, batch_first, projection):
    options = dict(
        num_layers=layers, bidirectional=directions == 2, bias=bool(bias), batch_first=bool(batch_first), dtype=torch.float64
    )
    if kind == "lstm":
        return torch.nn.LSTM(INPUT, HIDDEN, proj_size=PROJECTION if projection else 0, **options)
    if kind == "gru":
        return torch.nn.GRU(INPUT, HIDDEN, **options)
    return torch.nn.RNN(INPUT, HIDDEN, nonlinearity=kind.removeprefix("rnn_"), **options)


def run(kind, layers, directions, bias, batch_first, projection, packed):
    net = layer(kind, layers, directions, bias, batch_first, projection)
    parameters = list(net.parameters())
    with torch.no_grad():
        for i, parameter in enumerate(parameters):
            parameter.copy_(numbers(parameter.shape, 10 + i, 0.7))
    x = numbers([BATCH, STEPS, INPUT] if batch_first else [STEPS, BATCH, INPUT], 1, 1.5).requires_grad_()
    size = PROJECTION if projection else HIDDEN
    h_0 = numbers([layers * directions, BATCH, size], 2, 0.9).requires_grad_()
    c_0 = numbers([layers * directions, BATCH, HIDDEN], 3, 1.1).requires_grad_()
    states = [h_0, c_0] if kind == "lstm" else [h_0]
    given = x
    if packed:
        given = torch.nn.utils.rnn.pack_padded_sequence(x, LENGTHS, bool(batch_first), enforce_sorted=False)
    y, last = net(given, tuple(states) if kind == "lstm" else h_0)
    if packed:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, bool(batch_first), total_length=STEPS)
    results = [y, *last] if kind == "lstm" else [y, last]
    loss = sum((result * numbers(result.shape, 4 + i, 1.0)).sum() for i, result in enumerate(results))
    gradients = torch.autograd.grad(loss, [x, *states, *parameters])
    return torch.cat([tensor.detach().reshape(-1) for tensor in [*results, *gradients]])


cases = {}
for kind in ["lstm", "gru", "rnn_tanh", "rnn_relu"]:
    flags = [[1, 2], [1, 2], [0, 1], [0, 1], [0, 1] if kind == "lstm" else [0], [0, 1]]
    for options in itertools.product(*flags):
        names = ["layers", "directions", "bias", "batch_first", "proj", "packed"]
        name = " ".join([kind, *(f"{name}={value}" for name, value in zip(names, options))])
        cases[name] = run(kind, *options)
save_file(cases, sys.argv[1])
print(len(cases), "cases by PyTorch", torch.__version__)
