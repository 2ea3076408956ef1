"""Writes the files of tests/it/readers that numpy and PyTorch make. usage: make.py (in this folder; numpy 2, torch 2.15)"""
import collections, zipfile
import numpy as np
import torch

m = (np.arange(6, dtype=np.float32) * np.float32(0.5)).reshape(2, 3)
arrays = {
    "bool": np.array([True, False, True]),
    "u8": np.array([0, 255], dtype=np.uint8),
    "i8": np.array([-128, 127], dtype=np.int8),
    "i32": np.array([-(2**31), 2**31 - 1], dtype=np.int32),
    "i64": np.array([-(2**63), -1, 2**63 - 1]),
    "f16": np.array([65504, -np.inf, 2.0**-24], dtype=np.float16),
    "f32": m,
    "f64": np.array([1e-300, np.pi]),
    "scalar": np.array(2.5, dtype=np.float32),
    "empty": np.zeros((2, 0, 3)),
    "fortran": np.asfortranarray(np.arange(24, dtype=np.int32).reshape(2, 3, 4)),
    "big": m.astype(">f4"),
    "big_i64": np.array([1, -2], dtype=">i8"),
    "big_fortran": np.asfortranarray(m.astype(">f8")),
}
np.savez("numpy.npz", **arrays)
np.savez_compressed("numpy_compressed.npz", **arrays)
np.save("fortran.npy", arrays["fortran"])
np.save("f32.npy", m)
with open("version2.npy", "wb") as f:
    np.lib.format.write_array(f, m, version=(2, 0))
with open("version3.npy", "wb") as f:
    np.lib.format.write_array(f, m, version=(3, 0))
for name, array in {"i16": np.zeros(2, np.int16), "c8": np.zeros(2, np.complex64), "text": np.array(["a"]),
                    "object": np.array([{}], dtype=object), "record": np.zeros(2, [("a", "<f4"), ("b", "<i4")])}.items():
    np.save(f"unsupported_{name}.npy", array)

t = torch.from_numpy
state = collections.OrderedDict()
for name in ["bool", "u8", "i8", "i32", "i64", "f16", "f32", "f64", "scalar", "empty"]:
    state[name] = t(arrays[name].copy())
state["bf16"] = torch.tensor([1e38, -0.0, 0.1], dtype=torch.bfloat16)
base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
state["base"], state["row"], state["turned"], state["expanded"] = base, base[1], base.t(), base[2:, 1:2].expand(2, 3)
state["parameter"] = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
torch.save(state, "state.pt")
torch.save({"model": torch.nn.Linear(2, 1).state_dict(), "epoch": 3, "lr": 0.5, "best": True, "note": "text", "none": None,
            "sizes": [1, (2, 3)], "size": torch.Size([4, 5]), 7: torch.tensor(8), "big": 2**40, "minus": -5}, "nested.pt")
torch.save(torch.tensor([1, 2]), "tensor.pt", pickle_protocol=4)
torch.save(state, "legacy.pt", _use_new_zipfile_serialization=False)
torch.save(torch.nn.Linear(1, 1), "model.pt")
torch.save({"x": torch.zeros(2, dtype=torch.int16)}, "unsupported.pt")
model = torch.nn.Linear(2, 2)
adam = torch.optim.Adam(model.parameters())
model(torch.ones(1, 2)).sum().backward()
adam.step()
torch.save(adam.state_dict(), "adam.pt")
class Evil:
    def __reduce__(self):
        import os
        return os.system, ("echo pwned",)
torch.save({"x": Evil()}, "evil.pt")
