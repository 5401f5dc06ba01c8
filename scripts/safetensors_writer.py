"""Writes a dict of numpy float32 arrays as a safetensors file, in float32, float16 or bfloat16.

    8 bytes   length of the header, little-endian
    header    JSON: name -> {dtype, shape, data_offsets}, padded with spaces to a multiple of 8
    data      the tensors one after another, row-major, little-endian

Our scripts write model folders on machines that have numpy and nothing else, so this stands in for
the safetensors package; tests/parity reads what it wrote through that package.
"""

import json
import os

import numpy as np

STORED_NAME = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def bfloat16_bits(values):
    """The upper half of each float32, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4").astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def stored(values, dtype):
    """The array as it lies in the file."""
    if dtype == "bfloat16":
        return bfloat16_bits(values)
    return np.ascontiguousarray(values, dtype={"float32": "<f4", "float16": "<f2"}[dtype])


def write(path, tensors, dtype):
    """Writes `path` through a temporary name, so that a reader sees the whole file or none."""
    header, blobs, offset = {"__metadata__": {"format": "pt"}}, [], 0
    for name, values in tensors.items():
        blob = stored(values, dtype).tobytes()
        header[name] = {
            "dtype": STORED_NAME[dtype],
            "shape": list(values.shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path + ".part", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.writelines(blobs)
    os.replace(path + ".part", path)
