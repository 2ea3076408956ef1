"""Makes digits.safetensors from scikit-learn's digits.csv.gz.

    pip download --no-deps scikit-learn && unzip -j scikit_learn-*.whl sklearn/datasets/data/digits.csv.gz
    python digits.py digits.csv.gz digits.safetensors
"""

import gzip
import json
import struct
import sys

source, target = sys.argv[1:]
rows = [[int(float(x)) for x in line.split(",")] for line in gzip.open(source, "rt")]
assert len(rows) == 1797 and all(len(row) == 65 for row in rows)
images = bytes(x for row in rows for x in row[:64])
labels = bytes(row[64] for row in rows)
header = json.dumps({
    "images": {"dtype": "U8", "shape": [1797, 8, 8], "data_offsets": [0, len(images)]},
    "labels": {"dtype": "U8", "shape": [1797], "data_offsets": [len(images), len(images) + len(labels)]},
}).encode()
header += b" " * (-len(header) % 8)
with open(target, "wb") as file:
    file.write(struct.pack("<Q", len(header)) + header + images + labels)
