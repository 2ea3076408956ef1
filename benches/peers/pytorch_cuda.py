"""PyTorch on the cases of benches/cuda.rs and benches/matmul.rs: rows `bench,case,contender,threads,value,unit` on stdout.

usage: pytorch_cuda.py [--device cuda] [--once]
"""

import argparse
import statistics
import time

import torch
from torch import nn

IN_A_ROW = 8

arguments = argparse.ArgumentParser()
arguments.add_argument("--device", default="cuda")
arguments.add_argument("--once", action="store_true")
options = arguments.parse_args()
device = torch.device(options.device)
on_gpu = device.type == "cuda"


def wait():
    if on_gpu:
        torch.cuda.synchronize()


def seconds(run, rounds=15, turn=0.02):
    """Median seconds of a run."""
    for _ in range(1 if options.once else 3):
        run()
    wait()
    start = time.perf_counter()
    run()
    wait()
    count = 1 if options.once else max(1, int(turn / max(time.perf_counter() - start, 1e-7)))
    times = []
    for _ in range(1 if options.once else rounds):
        start = time.perf_counter()
        for _ in range(count):
            for _ in range(IN_A_ROW):
                run()
            wait()
        times.append((time.perf_counter() - start) / count / IN_A_ROW)
    return statistics.median(times)


def row(bench, case, contender, value, unit):
    print(f"{bench},{case},{contender},1,{value:.4f},{unit}", flush=True)


def memory_bound():
    rows, columns, side = (16, 1024, 64) if options.once else (1 << 16, 1024, 8192)
    n = rows * columns
    x, y = torch.rand(rows, columns, device=device), torch.rand(rows, columns, device=device)
    line, square = torch.rand(columns, device=device), torch.rand(side, side, device=device)
    cases = {
        "copy": (8, lambda: x.clone()),
        "add": (12, lambda: x + y),
        "add_row": (8, lambda: x + line),
        "relu": (8, lambda: x.relu()),
        "exp": (8, lambda: x.exp()),
        "tanh": (8, lambda: x.tanh()),
        "gelu": (8, lambda: nn.functional.gelu(x)),
        "to_bf16": (6, lambda: x.to(torch.bfloat16)),
        "sum": (4, lambda: x.sum()),
        "sum_rows": (4, lambda: x.sum(1)),
        "sum_columns": (4, lambda: x.sum(0)),
        "max_rows": (4, lambda: x.amax(1)),
        "softmax": (8, lambda: x.softmax(1)),
        "layer_norm": (8, lambda: nn.functional.layer_norm(x, (columns,))),
        "transpose": (8, lambda: square.t().contiguous()),
    }
    for name, (bytes_each, run) in cases.items():
        size = side * side if name == "transpose" else n
        row("cuda", name, "pytorch", bytes_each * size / seconds(run) * 1e-9, "GB/s")


class Last(nn.Module):
    def __init__(self, features, hidden):
        super().__init__()
        self.lstm, self.fc = nn.LSTM(features, hidden), nn.Linear(hidden, 1)

    def forward(self, x):
        return self.fc(self.lstm(x)[1][0][0])


def network(name):
    """A network, a batch, its target, loss and optimizer."""
    labels = (torch.arange(64) * 7 % 10).to(device)
    if name == "xor_epoch":
        net = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1), nn.Sigmoid())
        x = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]], device=device)
        return net.to(device), x, torch.tensor([[0.0], [1], [1], [0]], device=device), nn.MSELoss(), "sgd"
    if name == "mlp/train_b64":
        net = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
        return net.to(device), torch.rand(64, 784, device=device), labels, nn.CrossEntropyLoss(), "sgd"
    if name.startswith("mnist_cnn"):
        net = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10),
        )
        return net.to(device), torch.rand(64, 1, 28, 28, device=device), labels, nn.CrossEntropyLoss(), "adam"
    steps, batch, features, hidden = (12, 132, 1, 32) if "flights" in name else (32, 32, 128, 256)
    net = Last(features, hidden).to(device)
    x = torch.rand(steps, batch, features, device=device)
    return net, x, torch.rand(batch, 1, device=device), nn.MSELoss(), "adam"


def training(name):
    net, x, target, loss, optimizer = network(name)
    capturable = {"capturable": True} if on_gpu and optimizer == "adam" else {}
    made = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer](net.parameters(), lr=1e-3, **capturable)

    def step():
        made.zero_grad(set_to_none=True)
        loss(net(x), target).backward()
        made.step()

    row("cuda", name, "pytorch", seconds(step) * 1e6, "us")
    if not on_gpu:
        return
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    made.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        loss(net(x), target).backward()
        made.step()
    row("cuda", name, "pytorch_graph", seconds(graph.replay) * 1e6, "us")


def inference(name, batch):
    net, x, *_ = network("mnist_cnn")
    net.eval()
    with torch.inference_mode():
        row("cuda", name, "pytorch", seconds(lambda: net(x[:batch])) * 1e6, "us")


def matmul():
    for n in [64] if options.once else [512, 1024, 2048, 4096, 8192]:
        for name, dtype, tf32 in [("f32", torch.float32, False), ("tf32", torch.float32, True), ("bf16", torch.bfloat16, False)]:
            torch.backends.cuda.matmul.allow_tf32 = tf32
            a, b = torch.randn(n, n, device=device, dtype=dtype), torch.randn(n, n, device=device, dtype=dtype)
            row("matmul", f"{n}x{n}x{n}", f"pytorch_{name}", 2 * n**3 / seconds(lambda: a @ b) * 1e-12, "TFLOP/s")


if __name__ == "__main__":
    torch.manual_seed(0)
    memory_bound()
    for each in ["xor_epoch", "mlp/train_b64", "mnist_cnn/train_b64", "lstm_flights/train_b132", "lstm_big/train_b32"]:
        training(each)
    for size in [1, 64]:
        inference(f"mnist_cnn/infer_b{size}", size)
    matmul()
