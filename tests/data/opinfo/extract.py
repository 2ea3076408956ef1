"""Takes the cases from a dump of PyTorch's OpInfo samples (BSD-3-Clause): opinfo.json and opinfo.safetensors,
the latter with inputs in f32 and outputs and gradients in f64. Writes cases.txt and cases.safetensors here.

A line of cases.txt: operation, arguments, outputs, cotangents (or -), gradients, errors and largest values of PyTorch's own f32 run.
An operation is NAME or NAME/VARIANT. Arguments: `t:KEY:WATCHED`, `i:`, `f:`, `b:`, `s:` values, `r:START:STOP:STEP` a slice, `...`, `n` None,
`[ ... ]`, `k:NAME` before a named one. usage: extract.py DIR"""
import json
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

source = json.load(open(sys.argv[1] + "/opinfo.json"))
tensors = load_file(sys.argv[1] + "/opinfo.safetensors")
kept, lines = {}, []


def key(name):
    short = str(len(kept))
    kept[short] = np.array(tensors[name])
    return short


def words(a):
    if "t" in a:
        return f"t:{key(a['t'])}:{int(a['grad'])}", {a["t"]: str(len(kept) - 1)}
    if "list" in a:
        parts = [words(x) for x in a["list"]]
        return " ".join(["[", *(p[0] for p in parts), "]"]), {k: v for p in parts for k, v in p[1].items()}
    if "slice" in a:
        return "r:" + ":".join("" if x is None else str(x) for x in a["slice"]), {}
    if "ellipsis" in a:
        return "...", {}
    if "dtype" in a:
        return "s:" + a["dtype"], {}
    if "float" in a:
        return "f:" + str(a["float"]), {}
    v = a.get("v")
    if v is None:
        return ("n" if "v" in a else "s:other"), {}
    return {bool: "b", int: "i", float: "f", str: "s"}[type(v)] + ":" + str(v).replace(" ", "_"), {}


for c in source["cases"]:
    op = c["op"] + ("/" + c["variant"].replace(" ", "_") if c["variant"] else "")
    parts, names = [], {}
    for name, a in [("", c["input"]), *(("", a) for a in c["args"]), *c["kwargs"].items()]:
        text, found = words(a)
        parts += [f"k:{name}", text] if name else [text]
        names |= found
    outputs = ",".join(key(o["key"]) for o in c["outputs"])
    cotangents = ",".join(key(k["key"]) if k else "-" for k in c["ct"])
    gradients = ",".join(names[g["of"]] + "=" + key(g["key"]) for g in c["grads"])
    e = c["f32_err"] or {}
    errors = " ".join(repr(float(e.get(k) or 0)) for k in ("out", "grad", "out_max", "grad_max"))
    lines.append("|".join([op, " ".join(parts), outputs, cotangents, gradients, errors]))

open("cases.txt", "w").write("\n".join(lines) + "\n")
save_file(kept, "cases.safetensors")
print(len(lines), "cases of", len({c["op"] for c in source["cases"]}), "operations", {str(t.dtype) for t in kept.values()})
