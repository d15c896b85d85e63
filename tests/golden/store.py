"""store.py - safetensors files with the dtypes of DeepSeek-V4, read and written without any library.

A tensor is a pair (dtype, array).  8-bit floats are uint8 arrays of codes, BF16 are uint16 arrays of codes, I8 are packed
e2m1 pairs as uint8; F32 and I64 are what they say.
"""
import json
import pathlib

import numpy as np

NUMPY_OF = {"F8_E4M3": np.uint8, "F8_E8M0": np.uint8, "I8": np.uint8, "BF16": np.uint16, "F32": np.float32,
            "F64": np.float64, "I32": np.int32, "I64": np.int64, "U8": np.uint8, "U16": np.uint16, "U32": np.uint32}


def read(path):
    """{name: (dtype, array)} of one file."""
    blob = pathlib.Path(path).read_bytes()
    header_bytes = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8:8 + header_bytes])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + header_bytes + offset for offset in entry["data_offsets"])
        array = np.frombuffer(blob[begin:end], NUMPY_OF[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = (entry["dtype"], array)
    return tensors


def write(path, tensors):
    """Writes {name: (dtype, array)}; the data of wider elements comes first, so every tensor is aligned."""
    order = sorted(tensors, key=lambda name: (-np.dtype(NUMPY_OF[tensors[name][0]]).itemsize, name))
    header, payload, offset = {"__metadata__": {"format": "pt"}}, [], 0
    for name in order:
        dtype, array = tensors[name]
        data = np.ascontiguousarray(array, NUMPY_OF[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + len(data)]}
        payload.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(len(text).to_bytes(8, "little") + text + b"".join(payload))


def update(path, tensors):
    """Adds or replaces tensors of a file, which need not exist yet."""
    known = read(path) if pathlib.Path(path).exists() else {}
    known.update(tensors)
    write(path, known)


def read_checkpoint(directory):
    """Every tensor of a checkpoint directory, by its index."""
    directory = pathlib.Path(directory)
    index = json.loads((directory / "model.safetensors.index.json").read_text())
    shards = {shard: read(directory / shard) for shard in sorted(set(index["weight_map"].values()))}
    return {name: shards[shard][name] for name, shard in index["weight_map"].items()}


def write_checkpoint(directory, tensors, n_shards):
    """Writes shards in the order of the tensors and the index that names them."""
    directory = pathlib.Path(directory)
    names = list(tensors)
    weight_map, total_bytes = {}, 0
    for shard in range(n_shards):
        part = names[shard * len(names) // n_shards:(shard + 1) * len(names) // n_shards]
        file_name = f"model-{shard + 1:05d}-of-{n_shards:05d}.safetensors"
        write(directory / file_name, {name: tensors[name] for name in part})
        weight_map.update({name: file_name for name in part})
        total_bytes += sum(tensors[name][1].nbytes for name in part)
    index = {"metadata": {"total_size": total_bytes}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=0) + "\n")
