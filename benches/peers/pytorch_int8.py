"""PyTorch's int8 products on one thread, for benches/int8.rs: torch._int_mm (i8 x i8 -> i32) and quantized linear (fbgemm, u8
out), in GOP/s, and a quantized digits network on each of its engines, in us. Prints `case,contender,value`, medians of the
thread's processor time, contenders in turns.

    python benches/peers/pytorch_int8.py
"""

import statistics
import time
import warnings

import torch

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
SHAPES = [
    (256, 256, 256),
    (512, 512, 512),
    (1024, 1024, 1024),
    (2048, 2048, 2048),
    (64, 784, 128),
    (1, 1024, 1024),
]


def contenders(m, k, n):
    a = torch.randint(-128, 128, (m, k), dtype=torch.int8)
    w = torch.randint(-128, 128, (n, k), dtype=torch.int8)
    yield "torch _int_mm", lambda: torch._int_mm(a, w.t())
    torch.backends.quantized.engine = "fbgemm"
    qw = torch.quantize_per_tensor(w.float(), 1.0, 0, torch.qint8)
    packed = torch.ops.quantized.linear_prepack(qw, torch.zeros(n))
    qa = torch.quantize_per_tensor(a.float(), 1.0, 128, torch.quint8)
    yield "torch qlinear fbgemm", lambda: torch.ops.quantized.linear(qa, packed, 99.0, 128)


def seconds(run, count):
    start = time.thread_time()
    for _ in range(count):
        run()
    return (time.thread_time() - start) / count


for m, k, n in SHAPES:
    all_of_them = list(contenders(m, k, n))
    counts = []
    for _, run in all_of_them:
        run()
        counts.append(max(1, int(0.004 / max(seconds(run, 1), 1e-7))))
    times = [[] for _ in all_of_them]
    for _ in range(15):
        for i, (_, run) in enumerate(all_of_them):
            times[i].append(seconds(run, counts[i]))
    for (name, _), t in zip(all_of_them, times):
        print(f"{m}x{k}x{n},{name},{2e-9 * m * k * n / statistics.median(t):.1f}", flush=True)


def network(engine):
    """The layers of benches/int8.rs's."""
    torch.backends.quantized.engine = engine
    from torch import nn
    from torch.ao import quantization as ao

    model = nn.Sequential(
        ao.QuantStub(),
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3136, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
        ao.DeQuantStub(),
    ).eval()
    model.qconfig = ao.get_default_qconfig(engine)
    model = ao.fuse_modules(model, [["1", "2"], ["4", "5"], ["8", "9"]])
    ao.prepare(model, inplace=True)
    model(torch.rand(64, 1, 28, 28))
    return ao.convert(model, inplace=True)


engines = {engine: network(engine) for engine in ["fbgemm", "onednn", "x86"]}
for batch, count in [(1, 40), (64, 3)]:
    x = torch.rand(batch, 1, 28, 28)
    times = {engine: [] for engine in engines}
    with torch.no_grad():
        for _ in range(15):
            for engine, model in engines.items():
                torch.backends.quantized.engine = engine
                model(x)
                times[engine].append(seconds(lambda: model(x), count))
    for engine, t in times.items():
        print(f"int8 MNIST CNN b{batch},torch {engine},{statistics.median(t) * 1e6:.1f}", flush=True)
