#!/usr/bin/env python3
"""Times the CPU encoder beside ONNX Runtime and PyTorch on the same machine in the same minutes.

    bench_encoder.py BENCH_ENCODER MODEL_FOLDER [--threads 2] [--rounds 5] [--cpu-time]

Needs numpy, torch and onnxruntime (say, a venv over Debian's python3-torch with onnxruntime in
it) and a DistilBERT folder in float32 (scripts/make_random_model.py makes one of base shape). The
engines take turns, workload by workload, and the best pass of all rounds counts: on a shared
machine that is the least disturbed one. The peers pad a batch to its longest text, as their servers
do. Every engine's first logit is compared, so that all three are known to compute the same thing.
--cpu-time counts the CPU time that one thread spends, for a machine that is too busy for the wall's
clock.
"""

import argparse
import json
import math
import os
import subprocess
import tempfile
import time

import numpy as np
import onnxruntime
import torch

MIXED = [28, 17, 33, 49, 11, 12, 60, 42, 14, 31, 45, 11, 40, 21, 10, 13,
         35, 34, 12, 23, 13, 43, 35, 11, 60, 44, 15, 22, 48, 48, 45, 11]
WORKLOADS = {
    "1x8": [8], "1x16": [16], "1x32": [32], "1x64": [64], "1x128": [128],
    "32x16": [16] * 32, "mixed32": MIXED, "8x128": [128] * 8,
}
BUDGET_S = 0.4
TOLERANCE = 1e-4


def read_safetensors(path):
    with open(path, "rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(header_bytes))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            assert entry["dtype"] == "F32", "make the model in float32"
            begin, end = entry["data_offsets"]
            tensors[name] = torch.from_numpy(
                np.frombuffer(data[begin:end], dtype=np.float32).reshape(entry["shape"]).copy())
    return tensors


class DistilBert(torch.nn.Module):
    """The formulas, padded batch in, logits out; the exporter turns it into an ONNX graph."""

    def __init__(self, config, tensors):
        super().__init__()
        self.n_heads, self.n_layers = config["n_heads"], config["n_layers"]
        self.names = {name: f"w{i}" for i, name in enumerate(tensors)}
        for name, tensor in tensors.items():
            self.register_buffer(self.names[name], tensor)

    def linear(self, x, name):
        weight, bias = self.weight(name + ".weight"), self.weight(name + ".bias")
        return torch.nn.functional.linear(x, weight, bias)

    def norm(self, x, name):
        weight, bias = self.weight(name + ".weight"), self.weight(name + ".bias")
        return torch.nn.functional.layer_norm(x, weight.shape, weight, bias, 1e-12)

    def weight(self, name):
        return getattr(self, self.names[name])

    def heads(self, x):
        return x.view(x.shape[0], x.shape[1], self.n_heads, -1).transpose(1, 2)

    def forward(self, ids, mask):
        embeddings = "distilbert.embeddings."
        positions = self.weight(embeddings + "position_embeddings.weight")[: ids.shape[1]]
        x = torch.nn.functional.embedding(ids, self.weight(embeddings + "word_embeddings.weight"))
        x = self.norm(x + positions, embeddings + "LayerNorm")
        bias = (1 - mask[:, None, None, :].to(x.dtype)) * -1e9
        for i in range(self.n_layers):
            layer = f"distilbert.transformer.layer.{i}."
            q, k, v = (self.heads(self.linear(x, f"{layer}attention.{which}_lin"))
                       for which in "qkv")
            scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(2, 3) + bias
            mixed = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(x.shape)
            x = self.norm(x + self.linear(mixed, layer + "attention.out_lin"),
                          layer + "sa_layer_norm")
            h = torch.nn.functional.gelu(self.linear(x, layer + "ffn.lin1"))
            x = self.norm(x + self.linear(h, layer + "ffn.lin2"), layer + "output_layer_norm")
        pooled = torch.relu(self.linear(x[:, 0], "pre_classifier"))
        return self.linear(pooled, "classifier")


def padded_batch(lengths):
    """bench_encoder.c's token ids, one text a row."""
    ids = np.zeros((len(lengths), max(lengths)), dtype=np.int64)
    mask = np.zeros_like(ids)
    at = 0
    for row, length in enumerate(lengths):
        ids[row, :length] = [1000 + i * 7919 % 20000 for i in range(at, at + length)]
        mask[row, :length] = 1
        at += length
    return ids, mask


def best_ms(run, watch):
    run()
    best, begin = math.inf, watch()
    while watch() - begin < BUDGET_S:
        start = watch()
        run()
        best = min(best, watch() - start)
    return best * 1e3


class Weir:
    def __init__(self, program, folder, threads, cpu_time):
        words = [program, folder, str(threads)] + ["cpu"] * cpu_time
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def time(self, lengths):
        self.process.stdin.write(" ".join(map(str, lengths)) + "\n")
        self.process.stdin.flush()
        best, _, _, logit = self.process.stdout.readline().split()
        return float(best), float(logit)


class OnnxRuntime:
    def __init__(self, module, threads, watch):
        self.watch = watch
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.onnx")
            ids, mask = (torch.from_numpy(x) for x in padded_batch([5, 3]))
            axes = {0: "batch", 1: "tokens"}
            torch.onnx.export(module, (ids, mask), path, opset_version=16,
                              input_names=["ids", "mask"], output_names=["logits"],
                              do_constant_folding=True,
                              dynamic_axes={"ids": axes, "mask": axes, "logits": {0: "batch"}})
            self.session = onnxruntime.InferenceSession(path, options)

    def time(self, lengths):
        ids, mask = padded_batch(lengths)
        feed = {"ids": ids, "mask": mask}
        logit = self.session.run(None, feed)[0][0, 0]
        return best_ms(lambda: self.session.run(None, feed), self.watch), float(logit)


class Torch:
    def __init__(self, module, watch):
        self.module, self.watch = module, watch

    def time(self, lengths):
        ids, mask = (torch.from_numpy(x) for x in padded_batch(lengths))
        with torch.no_grad():
            logit = self.module(ids, mask)[0, 0]
            return best_ms(lambda: self.module(ids, mask), self.watch), float(logit)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bench_encoder")
    parser.add_argument("model_folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args()
    watch = time.process_time if options.cpu_time else time.perf_counter
    if options.cpu_time:
        options.threads = 1
    torch.set_num_threads(options.threads)
    with open(os.path.join(options.model_folder, "config.json")) as file:
        config = json.load(file)
    weights = read_safetensors(os.path.join(options.model_folder, "model.safetensors"))
    module = DistilBert(config, weights).eval()
    engines = {
        "weir": Weir(options.bench_encoder, options.model_folder, options.threads,
                     options.cpu_time),
        f"onnxruntime {onnxruntime.__version__}": OnnxRuntime(module, options.threads, watch),
        f"torch {torch.__version__}": Torch(module, watch),
    }
    best = {(name, engine): math.inf for name in WORKLOADS for engine in engines}
    for _ in range(options.rounds):
        for name, lengths in WORKLOADS.items():
            logits = []
            for engine, runner in engines.items():
                ms, logit = runner.time(lengths)
                best[name, engine] = min(best[name, engine], ms)
                logits.append(logit)
            assert max(logits) - min(logits) < TOLERANCE, f"{name}: the engines disagree: {logits}"
    unit = "CPU milliseconds" if options.cpu_time else "milliseconds"
    print(f"{options.threads} threads, best {unit} of {options.rounds} rounds; "
          "in brackets: times weir's")
    for name, lengths in WORKLOADS.items():
        ours = best[name, "weir"]
        row = [f"{engine} {best[name, engine]:8.2f} ({best[name, engine] / ours:4.2f}x)"
               for engine in engines]
        print(f"{name:8} {sum(lengths):5} tokens  " + "  ".join(row)
              + f"  {sum(lengths) / ours * 1e3:6.0f} tokens/s")


if __name__ == "__main__":
    main()
