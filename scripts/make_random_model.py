#!/usr/bin/env python3
"""Writes a Hugging Face folder with random weights, for tests and benchmarks.

    scripts/make_random_model.py OUT --vocab vocab.txt                      DistilBERT, base shape
    scripts/make_random_model.py OUT --vocab vocab.txt --architecture bert --layers 2 --labels 5

The numbers are scaled as training leaves them (each output of a matrix has about unit variance,
norms scale by about one), so that attention is neither flat nor a single spike and logits differ
from text to text. The same arguments give the same bytes.
"""

import argparse
import json
import math
import os
import shutil
import sys

try:
    import numpy as np
except ModuleNotFoundError:
    sys.exit(
        "make_random_model.py needs numpy: run it by build/venv/bin/python (scripts/make_venvs)"
    )

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import safetensors_writer  # noqa: E402

PROBLEMS = ["none", "regression", "single_label_classification", "multi_label_classification"]
JITTER = 0.05  # of biases and of the norms' scales
EMBEDDING_STD = 0.05


class Weights:
    """Tensors by name, in the order in which they were made."""

    def __init__(self, seed, old_norm_names):
        self.rng = np.random.default_rng(seed)
        self.norm_names = ("gamma", "beta") if old_norm_names else ("weight", "bias")
        self.tensors = {}

    def normal(self, shape, std, mean=0.0):
        return self.rng.standard_normal(shape, dtype=np.float32) * np.float32(std) + np.float32(
            mean
        )

    def table(self, name, rows, dim):
        self.tensors[f"{name}.weight"] = self.normal((rows, dim), EMBEDDING_STD)

    def linear(self, name, n_out, n_in):
        self.tensors[f"{name}.weight"] = self.normal((n_out, n_in), 1 / math.sqrt(n_in))
        self.tensors[f"{name}.bias"] = self.normal((n_out,), JITTER)

    def norm(self, name, dim):
        self.tensors[f"{name}.{self.norm_names[0]}"] = self.normal((dim,), JITTER, mean=1)
        self.tensors[f"{name}.{self.norm_names[1]}"] = self.normal((dim,), JITTER)


def distilbert_weights(weights, options, vocab_size):
    dim = options.dim
    weights.table("distilbert.embeddings.word_embeddings", vocab_size, dim)
    weights.table("distilbert.embeddings.position_embeddings", options.positions, dim)
    weights.norm("distilbert.embeddings.LayerNorm", dim)
    for i in range(options.layers):
        layer = f"distilbert.transformer.layer.{i}"
        for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
            weights.linear(f"{layer}.attention.{name}", dim, dim)
        weights.norm(f"{layer}.sa_layer_norm", dim)
        weights.linear(f"{layer}.ffn.lin1", options.ffn, dim)
        weights.linear(f"{layer}.ffn.lin2", dim, options.ffn)
        weights.norm(f"{layer}.output_layer_norm", dim)
    weights.linear("pre_classifier", dim, dim)
    weights.linear("classifier", options.labels, dim)


def bert_weights(weights, options, vocab_size):
    dim = options.dim
    weights.table("bert.embeddings.word_embeddings", vocab_size, dim)
    weights.table("bert.embeddings.position_embeddings", options.positions, dim)
    weights.table("bert.embeddings.token_type_embeddings", options.types, dim)
    weights.norm("bert.embeddings.LayerNorm", dim)
    for i in range(options.layers):
        layer = f"bert.encoder.layer.{i}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            weights.linear(f"{layer}.attention.{name}", dim, dim)
        weights.norm(f"{layer}.attention.output.LayerNorm", dim)
        weights.linear(f"{layer}.intermediate.dense", options.ffn, dim)
        weights.linear(f"{layer}.output.dense", dim, options.ffn)
        weights.norm(f"{layer}.output.LayerNorm", dim)
    weights.linear("bert.pooler.dense", dim, dim)
    weights.linear("classifier", options.labels, dim)


def distilbert_config(options):
    return {
        "architectures": ["DistilBertForSequenceClassification"],
        "model_type": "distilbert",
        "activation": options.activation,
        "dim": options.dim,
        "hidden_dim": options.ffn,
        "n_heads": options.heads,
        "n_layers": options.layers,
    }


def bert_config(options):
    return {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "hidden_act": options.activation,
        "hidden_size": options.dim,
        "intermediate_size": options.ffn,
        "layer_norm_eps": options.layer_norm_eps,
        "num_attention_heads": options.heads,
        "num_hidden_layers": options.layers,
        "type_vocab_size": options.types,
    }


ARCHITECTURES = {
    "distilbert": (distilbert_weights, distilbert_config),
    "bert": (bert_weights, bert_config),
}


def whole_config(options, vocab_size):
    config = ARCHITECTURES[options.architecture][1](options)
    config.update(max_position_embeddings=options.positions, vocab_size=vocab_size, pad_token_id=0)
    config["id2label"] = {str(i): f"LABEL_{i}" for i in range(options.labels)}
    config["label2id"] = {f"LABEL_{i}": i for i in range(options.labels)}
    if options.problem != "none":
        config["problem_type"] = options.problem
    return config


def tokenizer_config(options):
    return {
        "do_lower_case": not options.cased,
        "model_max_length": options.positions,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "tokenizer_class": (
            "BertTokenizer" if options.architecture == "bert" else "DistilBertTokenizer"
        ),
    }


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(value, indent=2) + "\n")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("out", help="folder to write")
    parser.add_argument(
        "--vocab", required=True, help="vocab.txt to copy; its lines are the vocabulary"
    )
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="distilbert")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--ffn", type=int, default=3072)
    parser.add_argument("--positions", type=int, default=512)
    parser.add_argument("--types", type=int, default=2, help="token types (bert)")
    parser.add_argument("--layer-norm-eps", type=float, default=1e-12, help="(bert)")
    parser.add_argument("--labels", type=int, default=2)
    parser.add_argument("--problem", choices=PROBLEMS, default="none", help="problem_type")
    parser.add_argument("--activation", choices=["gelu", "relu"], default="gelu")
    parser.add_argument("--dtype", choices=safetensors_writer.STORED_NAME, default="float32")
    parser.add_argument("--cased", action="store_true", help="the tokenizer keeps case")
    parser.add_argument("--old-norm-names", action="store_true", help="gamma and beta")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main():
    options = parse_arguments()
    if options.dim % options.heads:
        sys.exit(f"--dim {options.dim} is no multiple of --heads {options.heads}")
    with open(options.vocab, "rb") as file:
        vocab_size = len(file.read().rstrip(b"\n").split(b"\n"))
    weights = Weights(options.seed, options.old_norm_names)
    ARCHITECTURES[options.architecture][0](weights, options, vocab_size)
    os.makedirs(options.out, exist_ok=True)
    shutil.copyfile(options.vocab, f"{options.out}/vocab.txt")
    write_json(f"{options.out}/config.json", whole_config(options, vocab_size))
    write_json(f"{options.out}/tokenizer_config.json", tokenizer_config(options))
    safetensors_writer.write(f"{options.out}/model.safetensors", weights.tensors, options.dtype)
    n_parameters = sum(values.size for values in weights.tensors.values())
    print(
        f"{options.out}: {options.architecture}, {n_parameters / 1e6:.1f} million random parameters"
    )


if __name__ == "__main__":
    main()
