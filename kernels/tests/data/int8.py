"""Codes of PyTorch's quantize_per_tensor, quantize_per_channel and fake_quantize_per_tensor_affine, for kernels/src/cpu/int8.

    python kernels/tests/data/int8.py > kernels/tests/data/int8.txt      (needs torch; made with 2.15)

A line: function, type, outer, channels, inner, then the scales, zero points, inputs and results, each in hex: f32 as its bits,
codes as bytes, zero points as i32. Inputs are ties (k + 0.5) * scale, values beside them, beyond the range, and infinities
(those only per channel: PyTorch's per-tensor function wraps around there)."""

import struct
import warnings

import torch

warnings.filterwarnings("ignore")
torch.manual_seed(5)


def floats(x):
    return "".join("%08x" % struct.unpack("<I", struct.pack("<f", v))[0] for v in x)


def ints(x, bits):
    return "".join("%0*x" % (bits // 4, int(v) & ((1 << bits) - 1)) for v in x)


def inputs(scale, n):
    """Ties and values beside them, exact in f32 as PyTorch sees them."""
    steps = torch.randint(-300, 300, (n,)).float() + 0.5
    x = steps * torch.tensor(scale, dtype=torch.float32)
    x[n // 3 : n // 2] = torch.randn(n // 2 - n // 3) * scale * 100
    x[n // 2 : n // 2 + 4] = torch.nextafter(x[:4], torch.tensor(1e30))
    x[-4:] = torch.tensor([0.0, -0.0, 1e5 * scale, -1e5 * scale])
    return x


def line(function, kind, shape, scales, zeros, x, result):
    print(function, kind, *shape, floats(scales), ints(zeros, 32), floats(x), result)


TYPES = {"u8": (torch.quint8, 0, 255), "i8": (torch.qint8, -128, 127)}
for kind, (dtype, low, high) in TYPES.items():
    for scale in (0.00214854861, 0.1, 1 / 3, 0.5, 1.0, 0.0123, 37.5, 1e-30, 3e30):
        for zero in (low, low + 77, high):
            x = inputs(scale, 40)
            if scale == 0.00214854861:
                x[5] = 0.273939937  # 127.5 by the reciprocal, below it by division
            codes = torch.quantize_per_tensor(x, scale, zero, dtype)
            shape = (1, 1, x.numel())
            line("quantize", kind, shape, [scale], [zero], x, ints(codes.int_repr(), 8))
            line("dequantize", kind, shape, [scale], [zero], x, floats(codes.dequantize()))
            fake = torch.fake_quantize_per_tensor_affine(x, scale, zero, low, high)
            line("fake_quantize", kind, shape, [scale], [zero], x, floats(fake))
    for axis in (0, 1, 2):
        sizes = (3, 4, 5)
        channels = sizes[axis]
        scales = torch.rand(channels, dtype=torch.float64).float().double() * 0.1 + 0.001
        scales = scales.float().double()
        zeros = torch.randint(low, high + 1, (channels,))
        x = (torch.randint(-300, 300, sizes).float() + 0.5) * scales.float().reshape(
            [-1 if d == axis else 1 for d in range(3)]
        )
        x.view(-1)[7], x.view(-1)[9] = float("inf"), float("-inf")
        codes = torch.quantize_per_channel(x, scales, zeros, axis, dtype).int_repr()
        outer = [1, 3, 12][axis]
        inner = 60 // outer // channels
        shape = (outer, channels, inner)
        line("quantize", kind, shape, scales, zeros, x.flatten(), ints(codes.flatten(), 8))
