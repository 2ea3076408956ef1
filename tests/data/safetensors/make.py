"""Writes python.safetensors (the tensors of tests/it/safetensors.rs) and unsupported.safetensors (a type we don't read) with the
Python package. usage: make.py (in this folder; numpy, torch, safetensors 0.6)"""
import numpy as np
import torch
from safetensors.torch import save_file

m = (np.arange(6, dtype=np.float32) * np.float32(0.5)).reshape(2, 3)
tensors = {
    "bool": np.array([True, False, True]),
    "u8": np.array([0, 255], dtype=np.uint8),
    "i8": np.array([-128, 127], dtype=np.int8),
    "i32": np.array([-(2**31), 2**31 - 1], dtype=np.int32),
    "i64": np.array([-(2**63), -1, 2**63 - 1]),
    "f16": np.array([65504, -np.inf, 2.0**-24], dtype=np.float16),
    "f32": np.array([[1.5, np.nan], [-np.inf, -0.0]], dtype=np.float32),
    "f64": np.array([1e-300, np.pi]),
    "scalar": np.array(2.5, dtype=np.float32),
    "empty": np.zeros((2, 0, 3)),
    "layer.0.weight": m.T,
    "name with spaces, ümläut": m[:, ::-1],
    "expanded": np.broadcast_to(np.array([[1], [2]]), (2, 3)),
    "narrow": m[:, 1:],
}
tensors = {k: torch.from_numpy(np.ascontiguousarray(v).reshape(v.shape)) for k, v in tensors.items()}
tensors["bf16"] = torch.tensor([1e38, -0.0, 0.1], dtype=torch.bfloat16)
save_file(tensors, "python.safetensors", {"format": "pt"})
save_file({"h": torch.tensor([1], dtype=torch.uint16)}, "unsupported.safetensors")
