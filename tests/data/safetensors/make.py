"""Writes python.safetensors (the tensors of tests/it/safetensors.rs) and half.safetensors (a type we don't read) with the Python
package. usage: make.py (in this folder; numpy, safetensors 0.6)"""
import numpy as np
from safetensors.numpy import save_file

m = (np.arange(6, dtype=np.float32) * np.float32(0.5)).reshape(2, 3)
tensors = {
    "bool": np.array([True, False, True]),
    "u8": np.array([0, 255], dtype=np.uint8),
    "i64": np.array([-(2**63), -1, 2**63 - 1]),
    "f32": np.array([[1.5, np.nan], [-np.inf, -0.0]], dtype=np.float32),
    "f64": np.array([1e-300, np.pi]),
    "scalar": np.array(2.5, dtype=np.float32),
    "empty": np.zeros((2, 0, 3)),
    "layer.0.weight": m.T,
    "name with spaces, ümläut": m[:, ::-1],
    "expanded": np.broadcast_to(np.array([[1], [2]]), (2, 3)),
    "narrow": m[:, 1:],
}
save_file({k: np.ascontiguousarray(v).reshape(v.shape) for k, v in tensors.items()}, "python.safetensors", {"format": "pt"})
save_file({"h": np.array([1.0], dtype=np.float16)}, "half.safetensors")
