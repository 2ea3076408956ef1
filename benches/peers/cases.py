"""cases.csv, read: every case of the record, its rivals and the ratios that it is to reach.

A name holds all that a peer needs: `sgemm/NN/MxKxN` (layouts of the operands, T: stored transposed, P: so, and packed by us), `OP/COUNT`, `OP/ROWSxCOLUMNS`,
`conv_fwd/NxCxHxW_oO_kK_pP`, `NETWORK/train_bBATCH`; `_xN` says that a run does it N times. `RIVAL@out` writes into a kept tensor,
`RIVAL-avx2` and our side of that pair are held to AVX2; `RIVAL-default` has the system's allocator as it is. `best` is the rival with the smallest ratio. `allocations/CASE` counts a run's
heap allocations, beside the operations of the run (`operations`) and, in ten runs, what asks the system for tensor memory (`system`).
"""

import csv
import pathlib
import re
from math import prod

FRAMEWORKS = ["torch", "jax", "candle", "burn"]
GROUPS = {
    "blas": ["mkl", "openblas", "gemm", "matrixmultiply"],
    "frameworks": FRAMEWORKS,
    "tapes": ["torch", "candle", "burn"],
    "heap": ["operations", "system", "candle", "burn"],
}
# Floats that go in and out for each element.
FLOATS = dict(add=3, mul=3, relu=2, relu_inplace=2, exp=2, tanh=2, gelu=2, sigmoid=2, chain_tanh_xwb=4, sum=1, softmax=2, layer_norm=2, transpose=2)


def numbers(text):
    return [float(number) for number in text.split("x")]


def conv_flops(shape):
    image, filters, kernel, padding = shape.split("_")
    n, c, h, w = numbers(image)
    o, k, p = (int(part[1:]) for part in (filters, kernel, padding))
    return 2 * n * o * c * k * k * (h + 2 * p - k + 1) * (w + 2 * p - k + 1)


def counted_in(name):
    """The unit, and how much of it a nanosecond's share of a run is: value = amount / nanoseconds, or nanoseconds / amount of a time."""
    family, _, shape = name.partition("/")
    if family == "allocations":
        return "allocations", 1
    if family == "sgemm":
        return "GFLOP/s", 2 * prod(numbers(shape.split("/")[1]))
    if family.startswith("conv_"):
        return "GFLOP/s", conv_flops(shape) * (3 if family == "conv_fwdbwd" else 1)
    if family in FLOATS:
        return "GB/s", 4 * FLOATS[family] * prod(numbers(shape))
    if "grad" in shape:
        return "ns", float(shape.partition("_x")[2] or 1)
    return "us", 1e3


class Case:
    def __init__(self, row):
        self.name = row["case"]
        self.rivals = [rival for word in row["rivals"].split() for rival in GROUPS.get(word, [word])]
        self.unit, self.amount = counted_in(self.name)
        reaches = row["reach"], row["reach_of_two"]
        self.reach = {threads: dict(self.pair(part) for part in text.split(";") if part) for threads, text in enumerate(reaches, 1)}

    @staticmethod
    def pair(text):
        rival, ratio = text.split()
        return rival, float(ratio)

    def value(self, nanoseconds):
        return nanoseconds / self.amount if self.unit in ("ns", "us") else self.amount / nanoseconds


CASES = [Case(row) for row in csv.DictReader((pathlib.Path(__file__).parent / "cases.csv").open())]


def parts(case, elementwise, rows, tiny, images, step):
    """Takes a name to the maker of its family: `elementwise(op, n)`, `rows(op, r, c)`, `tiny(op, mode)`, `images(op, sizes, both)` or
    `step(network, what, batch)`."""
    family, _, shape = case.partition("/")
    if family.startswith(("conv_", "maxpool2_")):
        op, _, passes = family.partition("_")
        sizes = [int(number) for number in re.findall(r"\d+", shape)]
        return images(op, sizes, passes == "fwdbwd")
    if "grad" in shape:
        return tiny(family, shape)
    if "_b" in shape:
        what, _, batch = shape.partition("_b")
        return step(family, what, int(batch))
    sizes = [int(number) for number in numbers(shape)]
    return rows(family, *sizes) if len(sizes) == 2 else elementwise(family, *sizes)
