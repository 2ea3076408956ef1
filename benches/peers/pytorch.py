"""PyTorch as a peer (cases.py): every operation and network as its users write it. `CASE@out` writes into a kept tensor."""

import torch
import torch.nn.functional as F
from torch import nn

from cases import parts
from protocol import THREADS, serve

torch.set_num_threads(THREADS)
torch.manual_seed(0)

BINARY = {"add": torch.add, "mul": torch.mul}
UNARY = {"relu": torch.relu, "relu_inplace": torch.relu_, "exp": torch.exp, "tanh": torch.tanh, "gelu": F.gelu, "sigmoid": torch.sigmoid, "sum": torch.sum}


def elementwise(op, n, kept):
    x, w, b = torch.randn(3, n).unbind()
    y = torch.empty(n)
    if op == "chain_tanh_xwb":
        return lambda: torch.tanh(x * w + b)
    if op in BINARY:
        f = BINARY[op]
        return (lambda: f(x, w, out=y)) if kept else (lambda: f(x, w))
    f = UNARY[op]
    return (lambda: f(x, out=y)) if kept else (lambda: f(x))


def rows(op, r, c):
    x, w, b = torch.randn(r, c), torch.randn(c), torch.randn(c)
    return {
        "softmax": lambda: torch.softmax(x, -1),
        "layer_norm": lambda: F.layer_norm(x, (c,), w, b),
        "transpose": lambda: x.t().contiguous(),
    }[op]


def tiny(op, mode):
    shape = {"add_1": [1], "add_16": [16], "matmul_4x4": [4, 4]}[op]
    f = torch.matmul if op.startswith("matmul") else torch.add
    tracked = mode != "nograd"
    a, b = (torch.randn(shape, requires_grad=tracked) for _ in range(2))
    if not tracked:
        return lambda: f(a, b)
    times = range(int(mode.partition("_x")[2]))

    def run():
        for _ in times:
            f(a, b)

    return run


def passes(forward, inputs, both):
    """Forward, and backward to all inputs from a given gradient of the output."""
    if not both:
        return lambda: forward(*inputs)
    for x in inputs:
        x.requires_grad_()
    seed = torch.ones_like(forward(*inputs))
    return lambda: torch.autograd.grad(forward(*inputs), inputs, seed)


def images(op, shape, both):
    if op == "maxpool2":
        return passes(lambda x: F.max_pool2d(x, 2), [torch.randn(*shape)], both)
    n, c, h, w, o, k, p = shape
    return passes(lambda x, weight: F.conv2d(x, weight, padding=p), [torch.randn(n, c, h, w), torch.randn(o, c, k, k)], both)


class Last(nn.Module):
    """An LSTM's last state, and a linear layer on it."""

    def __init__(self, features, hidden):
        super().__init__()
        self.lstm, self.fc = nn.LSTM(features, hidden), nn.Linear(hidden, 1)

    def forward(self, x):
        _, (h, _) = self.lstm(x)
        return self.fc(h[0])


def network(name, batch):
    """The network, a batch, what it is to give, loss and optimizer."""
    sgd, adam = torch.optim.SGD, torch.optim.Adam
    if name == "xor":
        net = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1), nn.Sigmoid())
        x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        return net, x, torch.tensor([[0.0], [1.0], [1.0], [0.0]]), F.mse_loss, sgd(net.parameters(), 0.5)
    labels = torch.arange(batch) * 7 % 10
    if name == "mlp":
        net = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
        return net, torch.randn(batch, 784), labels, F.cross_entropy, sgd(net.parameters(), 0.01)
    if name == "mnist_cnn":
        net = nn.Sequential(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10)),
        )
        return net, torch.randn(batch, 1, 28, 28), labels, F.cross_entropy, adam(net.parameters(), 1e-3)
    steps, features, hidden = {"lstm_flights": (12, 1, 32), "lstm_big": (32, 128, 256)}[name]
    net = Last(features, hidden)
    return net, torch.randn(steps, batch, features), torch.randn(batch, 1), F.mse_loss, adam(net.parameters(), 1e-3)


def step(name, what, batch):
    net, x, y, loss, optimizer = network(name, batch)
    if what == "infer":

        def infer():
            with torch.inference_mode():
                net(x)

        net.eval()
        return infer

    def train():
        optimizer.zero_grad()
        loss(net(x), y).backward()
        optimizer.step()

    return train


def build(case):
    case, _, variant = case.partition("@")
    return parts(case, lambda op, n: elementwise(op, n, variant == "out"), rows, tiny, images, step)


serve(f"torch {torch.__version__}".replace("+cu130", ""), build)
