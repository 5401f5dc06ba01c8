#!/usr/bin/env python3
"""Our answers beside those of the FastAPI sample with the real transformers pipeline in it.

    test_against_pipeline.py PROTO_PROBE SOURCE_FOLDER

A tiny random model of each kind makes logits. The pipeline answers calls with them, and so do we:
shapes, labels, their order and the spelling of every number must be the same, scores to 1e-6
(numpy's exp is not correctly rounded). Runs under build/venv-reference (scripts/make_venvs); ends
with 77 ("skipped") where that is not there.
"""

import importlib.util
import json
import os
import sys
import tempfile

from probe import Probe, as_json

SKIPPED = 77
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dull", "gorgeous", "movie", "?", "!"]
TEXTS = ["a gorgeous movie!", "", "a dull dull movie?", "nothing known here"]
PAIR = {"text": TEXTS[0], "text_pair": TEXTS[2]}

# What the sample's client posts; the keys beside "text" are the pipeline call's own.
BODIES = [
    {"text": TEXTS[0]},
    {"text": TEXTS[1]},
    {"text": TEXTS},
    {"text": TEXTS[:1]},
    {"text": PAIR},
    {"text": [PAIR, {"text": TEXTS[3]}]},
]
CALLS = [
    {},
    {"top_k": None},
    {"top_k": 1},
    {"top_k": 2},
    {"top_k": 100},
    {"function_to_apply": "none"},
    {"function_to_apply": "sigmoid", "top_k": None},
    {"function_to_apply": "softmax", "top_k": None},
]
# problem_type, labels, the probe's letter.
MODELS = [
    ("regression", 1, "r"),
    ("regression", 3, "r"),
    ("single_label_classification", 2, "s"),
    ("single_label_classification", 5, "s"),
    ("multi_label_classification", 3, "m"),
    (None, 1, "s"),
]


def make_pipeline(folder, problem, n_labels):
    import torch
    import transformers

    path = os.path.join(folder, "vocab.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(WORDS) + "\n")
    tokenizer = transformers.DistilBertTokenizerFast(path)
    torch.manual_seed(n_labels)
    config = transformers.DistilBertConfig(
        vocab_size=len(WORDS), dim=16, n_layers=1, n_heads=2, hidden_dim=32, num_labels=n_labels
    )
    if problem is not None:
        config.problem_type = problem
    model = transformers.DistilBertForSequenceClassification(config).eval()
    with torch.no_grad():
        model.classifier.weight *= 40  # scores that differ
    return transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)


def logits_of(pipe, text):
    import torch

    pair = text if isinstance(text, dict) else {"text": text}
    encoded = pipe.tokenizer(pair["text"], pair.get("text_pair"), return_tensors="pt")
    with torch.no_grad():
        return pipe.model(**encoded).logits[0].tolist()


def same(ours, theirs):
    """Equal but for the last digits of floats."""
    if isinstance(theirs, float):
        return isinstance(ours, float) and abs(ours - theirs) <= 1e-6 * abs(theirs) + 1e-9
    if isinstance(theirs, dict):
        return list(ours) == list(theirs) and all(same(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return ours == theirs


def compare(probe, pipe, letter):
    labels = [pipe.model.config.id2label[i] for i in range(pipe.model.config.num_labels)]
    n_answers = n_equal = 0
    for body in BODIES:
        texts = body["text"] if isinstance(body["text"], list) else [body["text"]]
        logits = [logits_of(pipe, text) for text in texts]
        for call in CALLS:
            theirs = as_json({"prediction": pipe(body["text"], **call)})
            ours = probe.answer("jj", letter, labels, logits, as_json({**body, **call}))
            assert same(json.loads(ours), json.loads(theirs)), f"{body} {call}:\n{ours}\n{theirs}"
            assert as_json(json.loads(ours)) == ours, ours
            n_answers += 1
            n_equal += ours == theirs
    return n_answers, n_equal


def main():
    program, source_folder = sys.argv[1:3]
    venv = os.path.join(source_folder, "build", "venv-reference", "bin", "python")
    if os.access(venv, os.X_OK) and os.environ.get("WEIR_IN_VENV") is None:
        os.environ["WEIR_IN_VENV"] = "1"
        os.execv(venv, [venv] + sys.argv)
    if not all(importlib.util.find_spec(name) for name in ("torch", "transformers")):
        print("skipped: no transformers with torch (scripts/make_venvs makes build/venv-reference)")
        sys.exit(SKIPPED)
    import transformers

    transformers.logging.set_verbosity_error()
    probe = Probe(program)
    with tempfile.TemporaryDirectory() as folder:
        for problem, n_labels, letter in MODELS:
            pipe = make_pipeline(folder, problem, n_labels)
            n_answers, n_equal = compare(probe, pipe, letter)
            print(
                f"ok {problem}, {n_labels} labels: {n_answers} answers as transformers "
                f"{transformers.__version__} gives them, {n_equal} of them byte for byte"
            )
    probe.close()


main()
