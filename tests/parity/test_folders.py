#!/usr/bin/env python3
"""A whole server beside transformers' pipeline, on random model folders.

    test_folders.py SOURCE_FOLDER [--seeds N] [--first SEED] [--seconds S] [--data FOLDER]

Each seed makes a folder as some version of save_pretrained writes it: either architecture, odd
sizes, label counts and heads, each type of weights, vocabularies and normalizers, with some of the
tokenizer's files or all. scripts/supervisor serves it and pipeline("text-classification") loads it;
requests of every kind must get the same shapes, labels and order, and scores to TOLERANCE. A
difference prints the seed. Ends with 77 ("skipped") where the reference or the vocabularies are not
there.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time

from test_parity import CASED, MULTILINGUAL, SKIPPED, UNCASED, enter_reference

TOLERANCE = 2e-5
REQUESTS = 24  # for each folder
VOCABULARIES = [UNCASED, CASED, MULTILINGUAL, "bert-base-multilingual-uncased"]
ROLES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = [
    "",
    "a gorgeous, witty, seductive movie",
    "Das Café ist naïve ÀÉÎÕÜ — Straße ẞ İstanbul ΣΑΣ",
    "電影很好看。한국어 かな ＦＵＬＬ",
    "[MASK] a [SEP] b [CLS] [UNK]x [PAD]",
    "don't   e\u0301  \u200b zero\u00a0width 🎬\ufe0f \t tab\n",
    "x" * 101 + " unaffable",
    "one <new> two NEW_TOKEN three",
]
LABELS = ["good", "très bon", 'a "quoted" one', "back\\slash", "好", "", "line\nbreak", "LABEL_0"]


# --- folders --------------------------------------------------------------------------------------


def random_config(rng, n_words):
    heads = rng.randint(1, 6)
    width = heads * rng.choice([4, 7, 8, 10, 16, 32, 64])
    n_labels = rng.choice([1, 1, 2, 3, 4, 5, 6, 7])
    common = {
        "vocab_size": n_words,
        "max_position_embeddings": rng.choice([16, 40, 77, 512]),
        "initializer_range": width**-0.5,  # texts differ, and attention is no spike
    }
    labels = rng.randrange(4)
    if labels == 0:
        common["num_labels"] = n_labels
    else:
        names = [f"LABEL_{i}" for i in range(n_labels)]
        if labels > 1:
            names = [rng.choice(LABELS) if labels == 3 else LABELS[i] for i in range(n_labels)]
        elif rng.random() < 0.3:
            n_labels = rng.choice([28, 77, 150])
            names = [f"class {i}" for i in range(n_labels)]
        if rng.random() < 0.15:  # save_pretrained takes no mixture
            names = rng.sample(range(-99, 99), n_labels)
        common["id2label"] = dict(enumerate(names))
        common["label2id"] = {name: i for i, name in enumerate(names)}
    if rng.random() < 0.15:
        common["return_all_scores"] = rng.random() < 0.7
    problem = rng.choice([None, None, "regression", "multi_label_classification", "single"])
    if problem:
        common["problem_type"] = problem.replace("single", "single_label_classification")
    activation = rng.choice(["gelu", "gelu", "relu", "gelu_python"])
    layers, ffn = rng.randint(1, 3), rng.randint(5, 150)
    if rng.random() < 0.5:
        return transformers.DistilBertConfig(
            dim=width, n_heads=heads, n_layers=layers, hidden_dim=ffn, activation=activation,
            sinusoidal_pos_embds=rng.random() < 0.3, **common
        )  # fmt: skip
    return transformers.BertConfig(
        hidden_size=width, num_attention_heads=heads, num_hidden_layers=layers,
        intermediate_size=ffn, hidden_act=activation, type_vocab_size=rng.choice([2, 2, 3, 1]),
        layer_norm_eps=rng.choice([1e-12, 1e-5, 1e-3]), **common
    )  # fmt: skip


def save_model(rng, config, n_words, folder):
    torch.manual_seed(rng.randrange(1 << 30))
    architecture = config.__class__.__name__.replace("Config", "ForSequenceClassification")
    model = getattr(transformers, architecture)(config)
    for name, parameter in model.named_parameters():
        if "LayerNorm" in name or "layer_norm" in name or name.endswith("bias"):
            parameter.data += 0.1 * torch.randn_like(parameter)
    if n_words != config.vocab_size:
        model.resize_token_embeddings(n_words)
    model = model.to(rng.choice([torch.float32, torch.float32, torch.float16, torch.bfloat16]))
    model.save_pretrained(folder)
    if rng.random() < 0.2:
        age_weights(rng, config, f"{folder}/model.safetensors")


def age_weights(rng, config, path):
    """Names as in checkpoints from TensorFlow, and the table of positions that was once saved."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    if rng.random() < 0.5:
        tensors = {
            name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): tensor
            for name, tensor in tensors.items()
        }
    if rng.random() < 0.7:
        positions = torch.arange(config.max_position_embeddings).unsqueeze(0)
        tensors[f"{config.model_type}.embeddings.position_ids"] = positions
    save_file(tensors, path, metadata={"format": "pt"})


def random_tokenizer(rng, vocabulary, model_type):
    arguments = {
        "do_lower_case": rng.random() < 0.5,
        "strip_accents": rng.choice([None, None, True, False]),
        "tokenize_chinese_chars": rng.random() < 0.8,
    }
    if rng.random() < 0.6:
        arguments["model_max_length"] = rng.choice([12, 33, 512])
    if rng.random() < 0.2:
        arguments["truncation_side"] = "left"
    if rng.random() < 0.1:
        arguments["split_special_tokens"] = True
    name = {"bert": "BertTokenizer", "distilbert": "DistilBertTokenizer"}[model_type]
    name += "Fast" if rng.random() < 0.7 else ""
    tokenizer = getattr(transformers, name)(vocabulary, **arguments)
    if rng.random() < 0.3:
        tokenizer.add_tokens(["<new>"])
        tokenizer.add_tokens(["NEW_TOKEN"], special_tokens=rng.random() < 0.5)
    return tokenizer


def change_json(path, change):
    with open(path, encoding="utf-8") as file:
        value = json.load(file)
    change(value)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file)


def age_tokenizer(rng, is_bert, folder):
    """Takes away what other versions did not write, and what people leave out."""
    files = {name: f"{folder}/{name}.json" for name in
             ("tokenizer", "tokenizer_config", "special_tokens_map", "config")}  # fmt: skip
    has_json = os.path.exists(files["tokenizer"])
    if has_json and rng.random() < 0.3:
        os.unlink(rng.choice([files["tokenizer"], f"{folder}/vocab.txt"]))
    has_json = os.path.exists(files["tokenizer"])
    if has_json and rng.random() < 0.2:
        cut = {"direction": rng.choice(["Left", "Right"]), "max_length": 9,
               "strategy": "LongestFirst", "stride": 0}  # fmt: skip
        padding = {"strategy": {"Fixed": 20}, "direction": "Right", "pad_to_multiple_of": None,
                   "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}  # fmt: skip
        change_json(files["tokenizer"], lambda value: value.update(truncation=cut, padding=padding))
    if rng.random() < 0.25:  # before 4.34
        change_json(files["tokenizer_config"], lambda value: value.pop("added_tokens_decoder"))
    # Not where tokens were added: see "as the class normalizes it" in docs/architecture.md.
    may_lose_flags = not has_json or not os.path.exists(f"{folder}/added_tokens.json")
    if may_lose_flags and rng.random() < 0.4:
        change_json(
            files["tokenizer_config"],
            lambda value: [value.pop(key, None) for key in rng.sample(sorted(value), 4)],
        )
    if may_lose_flags and rng.random() < 0.2:
        os.unlink(files["tokenizer_config"])
    if rng.random() < 0.15:
        os.unlink(files["special_tokens_map"])
    if has_json and is_bert and rng.random() < 0.1:  # gives token types, which DistilBERT lacks
        change_json(
            files["config"], lambda value: value.update(tokenizer_class="PreTrainedTokenizerFast")
        )
    if rng.random() < 0.3:  # older files name no class
        change_json(files["config"], lambda value: value.pop("architectures"))


def make_folder(rng, data, folder):
    with open(f"{data}/{rng.choice(VOCABULARIES)}.vocab.txt", encoding="utf-8") as file:
        words = file.read().rstrip("\n").split("\n")
    if rng.random() < 0.5:  # a part of it, so that words are unknown
        words = ROLES + rng.sample([word for word in words if word not in ROLES], 3000)
    with open(f"{folder}/vocab.txt", "w", encoding="utf-8") as file:
        file.write("\n".join(words) + "\n")
    config = random_config(rng, len(words))
    tokenizer = random_tokenizer(rng, f"{folder}/vocab.txt", config.model_type)
    save_model(rng, config, len(tokenizer), folder)
    tokenizer.save_pretrained(folder)
    age_tokenizer(rng, config.model_type == "bert", folder)
    return words


# --- requests -------------------------------------------------------------------------------------


def random_text(rng, words):
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(TEXTS)
    text = " ".join(rng.choices(words, k=rng.randint(1, 12)))
    return text + " " + rng.choice(TEXTS) if kind == 1 else text.replace(" ##", "")


def random_input(rng, words, limit, no_pairs):
    """A text or a pair. Neither half of a pair is longer than the limit: there the versions of the
    tokenizers package differ (docs/architecture.md)."""
    text = random_text(rng, words)
    if no_pairs or rng.random() < 0.6:
        return text * rng.choice([1, 1, 1, 40])
    return {"text": text[: limit // 2], "text_pair": random_text(rng, words)[: limit // 2]}


def random_call(rng):
    call = {}
    if rng.random() < 0.7:
        call["top_k"] = rng.choice([None, 1, 3])
    if rng.random() < 0.5:
        call["function_to_apply"] = rng.choice(["softmax", "sigmoid", "none"])
    return call


def close(ours, theirs):
    return abs(ours - theirs) <= TOLERANCE * max(1.0, abs(theirs))


def same(ours, theirs, scores):
    """Equal in shape, labels and order; of two labels that nearly tie, either may come first.
    `scores` are all labels' of all texts, as the pipeline gives them."""
    if isinstance(theirs, list):
        return (
            isinstance(ours, list)
            and len(ours) == len(theirs)
            and all(same(a, b, scores) for a, b in zip(ours, theirs))
        )
    if not isinstance(ours, dict) or list(ours) != list(theirs):
        return False
    if not close(ours["score"], theirs["score"]):
        return False
    return ours["label"] == theirs["label"] or any(
        row["label"] == ours["label"] and close(row["score"], theirs["score"]) for row in scores
    )


def flat(rows):
    return [row for item in rows for row in (flat(item) if isinstance(item, list) else [item])]


def compare(rng, folder, words, port, predict):
    """What differs, as sentences."""
    pipe = transformers.pipeline("text-classification", model=folder)
    limit = int(min(pipe.tokenizer.model_max_length, pipe.model.config.max_position_embeddings))
    no_pairs = getattr(pipe.model.config, "type_vocab_size", 2) == 1  # transformers fails on them
    for _ in range(REQUESTS):
        count = rng.choice([1, 1, 2, 5])
        inputs = [random_input(rng, words, limit, no_pairs) for _ in range(count)]
        body = inputs if len(inputs) > 1 or rng.random() < 0.2 else inputs[0]
        call = random_call(rng)
        cut = {"truncation": True, "max_length": limit}
        theirs = pipe(body, **call, **cut)
        function = {key: call[key] for key in call if key == "function_to_apply"}
        scores = flat([pipe(item, top_k=None, **function, **cut) for item in inputs])
        status, ours = predict(port, body, **call)
        if status != 200 or not same(ours["prediction"], theirs, scores):
            yield f"{json.dumps(body)} {call}: {status}\n    {ours}\n    {theirs}"


def run_seed(seed, data, folder):
    from harness import BIN, Supervisor
    from test_whole import predict

    rng = random.Random(seed)
    words = make_folder(rng, data, folder)
    with open(f"{folder}/config.json", encoding="utf-8") as file:
        model_type = json.load(file)["model_type"]
    env = {"WEIR_BIN": BIN, "MODEL_ID": folder, "BACKEND": "cpu", "THREADS": "1"}
    with Supervisor("--frontends", "1", env=env) as server:
        wrong = list(compare(rng, folder, words, server.port, predict))
    names = " ".join(sorted(os.listdir(folder)))
    print(f"seed {seed}: {model_type}, {len(words)} words, {names}: {len(wrong)} differ")
    for sentence in wrong[:3]:
        print(f"  WRONG: {sentence}", flush=True)
    return len(wrong)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1e9, help="start none after these")
    parser.add_argument("--data", help="folder of the vocabularies, if not ../shared's")
    arguments = parser.parse_args()
    enter_reference(arguments.source)
    data = arguments.data or f"{arguments.source}/../shared/data/tokenizer"
    try:
        import reference
    except ImportError as error:
        reference = error
    if isinstance(reference, ImportError) or not os.path.isdir(data):
        print(f"skipped: no reference or no vocabularies ({reference})")
        sys.exit(SKIPPED)
    globals().update(torch=reference.torch, transformers=reference.transformers)
    torch.set_num_threads(1)
    sys.path[:0] = [f"{arguments.source}/tests/{name}" for name in ("integration", "frontend")]

    start, n_wrong, n_folders = time.monotonic(), 0, 0
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        if time.monotonic() - start > arguments.seconds:
            break
        with tempfile.TemporaryDirectory(prefix="weir-folders-") as folder:
            n_wrong += run_seed(seed, data, folder)
            n_folders += 1
    print(f"{n_folders} folders, {n_folders * REQUESTS} requests, {n_wrong} differ", flush=True)
    sys.exit(n_wrong > 0)


if __name__ == "__main__":
    main()
