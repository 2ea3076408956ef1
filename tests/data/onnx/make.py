"""Writes cases.jsonl and cases.safetensors from a manifest of ONNX's backend tests (onnx 1.17.0, onnx/backend/test/data/node and
pytorch-*, converted to JSON and safetensors). Cases of element types that are not read here keep their line, without data; but codes of 16 bits
are kept in int32, and the operators that make them are told so (attribute output_dtype: 4 is uint16, 5 is int16).
usage: make.py MANIFEST.json TENSORS.safetensors (writes to this folder; numpy, safetensors)"""
import hashlib, json, os, sys
from safetensors.numpy import load_file, save_file

manifest, tensors = json.load(open(sys.argv[1])), load_file(sys.argv[2])
known = {"float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool"}
wide = {"uint16": 4, "int16": 5}
kept, lines, names = {}, [], {}
def key(t):
    x = tensors[t["key"]]
    if t["dtype"] in wide: x = x.astype("int32")
    digest = hashlib.sha256(x.tobytes() + repr((x.dtype.str, x.shape)).encode()).digest()
    name = names.setdefault(digest, f"{len(names):x}")
    kept[name] = x
    return name
for c in manifest["cases"]:
    parts = [t for t in c["inputs"] + c["initializers"] + c["outputs"] if t]
    line = {"id": c["id"], "op": c["op"], "opset": c["opset"],
            "nodes": [[n["op"], n["attrs"], n["inputs"], n["outputs"]] for n in c["nodes"]]}
    quantizes = c["op"] in ("QuantizeLinear", "DequantizeLinear")
    found = sorted({t["dtype"] for t in parts} & set(wide))
    if quantizes and found:
        line["nodes"][0][1]["output_dtype"] = wide[found[0]]
    bad = sorted({t["dtype"] for t in parts} - known - (set(wide) if quantizes else set()))
    if bad:
        line["skip"] = ", ".join(bad)
    else:
        line["given"] = {t["name"]: key(t) for t in c["inputs"] + c["initializers"] if t}
        line["expected"] = [[t["name"], key(t)] for t in c["outputs"]]
    lines.append(json.dumps(line, separators=(",", ":")))
here = os.path.dirname(os.path.abspath(__file__))
open(os.path.join(here, "cases.jsonl"), "w").write("\n".join(lines) + "\n")
save_file(kept, os.path.join(here, "cases.safetensors"))
