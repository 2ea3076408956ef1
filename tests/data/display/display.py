"""Prints tensors with PyTorch: writes display.txt, which tests/it/display.rs compares with. Only the end differs: `, f32)` for
PyTorch's `)` or `, dtype=...)`, and a shape in Rust's brackets. usage: display.py > display.txt (torch 2.15)"""
import re
import torch

cases = {
 "ints": torch.tensor([[1,-20,3],[400,5,6]]),
 "u8": torch.tensor([1,255],dtype=torch.uint8),
 "floats": torch.tensor([[1.5,-2.25,3.0],[0.1,100.0,7.0]]),
 "whole": torch.tensor([1.,2.,30.]),
 "f64": torch.tensor([0.1,0.25],dtype=torch.float64),
 "sci_large": torch.tensor([1e10,1.,2.5]),
 "sci_small": torch.tensor([1e-5,1.]),
 "sci_range": torch.tensor([0.001,1001.5]),
 "whole_large": torch.tensor([1e9,2.]),
 "whole_1e8": torch.tensor([1e8,2.]),
 "whole_range": torch.tensor([1.,100000.]),
 "whole_zero": torch.tensor([0.,0.]),
 "bools": torch.tensor([True,False]),
 "nan": torch.tensor([float('nan'),1.5,float('inf'),-float('inf')]),
 "nan_whole": torch.tensor([float('nan'),1.,-float('inf')]),
 "nan_only": torch.tensor([float('nan')]),
 "nan_scientific": torch.tensor([float('nan'), 1e-7, 2.]),
 "scalar": torch.tensor(3.25),
 "scalar_int": torch.tensor(-7),
 "scalar_whole": torch.tensor(2.),
 "scalar_bool": torch.tensor(True),
 "empty": torch.zeros(0),
 "empty2": torch.zeros(2,0,3),
 "empty_int": torch.zeros(0,dtype=torch.int64),
 "three": torch.arange(12.).reshape(2,2,3),
 "four": torch.arange(8).reshape(2,1,2,2),
 "three_half": torch.arange(12.).reshape(2,2,3)/8,
 "long_row": torch.arange(40),
 "long_floats": torch.arange(30)/8,
 "long_rows": (torch.arange(60)/8).reshape(2,30),
 "summary": torch.arange(2000),
 "summary_floats": torch.arange(1001)/4,
 "summary2": torch.arange(40000.).reshape(200,200),
 "summary3": torch.arange(3*3*300).reshape(3,3,300),
 "exactly1000": torch.arange(1000.).reshape(1000,1).narrow(0,0,3),
 "small_summary": torch.arange(1200).reshape(4,300),
 "negzero": torch.tensor([-0.0, 0.5]),
 "negzero_whole": torch.tensor([-0.0, 1.]),
 "ones_column": torch.ones(3,1),
 "exp3": torch.tensor([1e300,1e-300],dtype=torch.float64),
 "minus_sci": torch.tensor([-1e-5,1.]),
 "round": torch.tensor([0.00005,0.99995],dtype=torch.float64),
 "summary_bool": torch.arange(1500)%2==0,
 "big_ints": torch.tensor([2**53 + 1, -(2**63), 2**63 - 1]),
 "tall": torch.arange(1200.).reshape(600,2)/4,
}
for k,v in cases.items():
    text = re.sub(r"(, dtype=torch\.\w+)?\)$", "", str(v))
    text = re.sub(r"size=\((.*)\)", r"shape=[\1]", text)
    short = {torch.float32: "f32", torch.float64: "f64", torch.int64: "i64", torch.uint8: "u8", torch.bool: "bool"}
    print(f"== {k}\n{text}, {short[v.dtype]})")
