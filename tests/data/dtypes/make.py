"""Writes what PyTorch says of types: promotion.txt (`a b rank_a rank_b result` for `a + b`, and `a - number result` for a tensor
and a number), casts and operations of 2-byte floats in dtypes.safetensors. usage: make.py (in this folder; torch 2.x, safetensors)"""
import torch
from safetensors.torch import save_file

types = {
    "bool": torch.bool, "u8": torch.uint8, "i8": torch.int8, "i32": torch.int32, "i64": torch.int64,
    "f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32, "f64": torch.float64,
}
names = {v: k for k, v in types.items()} | {torch.int16: "i16"}
lines = []
for a in types:
    for b in types:
        for m in (0, 1):
            for n in (0, 1):
                x, y = torch.ones([2] * m, dtype=types[a]), torch.ones([2] * n, dtype=types[b])
                lines.append(f"{a} {b} {m} {n} {names[(x + y).dtype]}")
    for number in (2, 2.5):
        lines.append(f"{a} - {number} {names[(torch.ones([2], dtype=types[a]) + number).dtype]}")
open("promotion.txt", "w").write("\n".join(lines) + "\n")

out = {}
edges = [0.0, -0.0, 1.0, 0.9, 1.5, 2.5, 99.99, 127.0, 2.0**-24, 1.0 + 2**-11, 1.0 + 2**-8, 1.0 + 3 * 2**-8]
wide = edges + [-x for x in edges] + [300.5, -129.0, 65504.0, 65519.0, 65520.0, 1e5, -1e30, 2.0**31, float("inf"), float("nan")]
whole = [0, 1, 2, 127, 128, 255, 256, -1, -128, -129, 257, 2049, 65519, 65520, 2**24 + 1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1]
for a, dtype in types.items():
    if dtype.is_floating_point:
        x = torch.tensor(wide, dtype=torch.float64).to(dtype)
    else:
        x = torch.tensor(whole).to(dtype)
    for b, to in types.items():
        y = x
        if dtype.is_floating_point and not to.is_floating_point and to != torch.bool:
            # Beyond the integer type C++ says nothing; we saturate.
            limits, f = torch.iinfo(to), x.double().trunc()
            y = x[(f >= limits.min) & (f < float(limits.max) + 1)]
        out[f"cast.{a}.{b}.in"], out[f"cast.{a}.{b}.out"] = y.clone(), y.to(to).clone()

torch.manual_seed(0)
for name in ("f16", "bf16"):
    dtype = types[name]
    x, y = torch.randn(7, 33).to(dtype), (torch.rand(7, 33) + 0.5).to(dtype)
    w = torch.randn(33, 5).to(dtype)
    out |= {f"{name}.x": x, f"{name}.y": y, f"{name}.w": w}
    done = {
        "add": x + y, "sub": x - y, "mul": x * y, "div": x / y, "tenth": x * 0.1, "small": x / 100000.0, "exp": x.exp(),
        "tanh": x.tanh(), "sqrt": y.sqrt(), "relu": x.relu(), "sum": x.sum(1), "mean": x.mean(), "max": x.amax(0), "matmul": x @ w,
        "softmax": x.softmax(1), "abs": x.abs(), "pow": y**2.5, "maximum": torch.maximum(x, y),
    }
    out |= {f"{name}.{k}": v.contiguous() for k, v in done.items()}
    x, w = x.clone().requires_grad_(), w.clone().requires_grad_()
    (torch.tanh(x @ w) * 0.5).sum().backward()
    out |= {f"{name}.grad.x": x.grad, f"{name}.grad.w": w.grad}
save_file(out, "dtypes.safetensors")
