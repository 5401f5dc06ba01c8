#!/usr/bin/env python3
"""The CPU encoder's logits against transformers', on random models of many shapes.

    test_parity.py PARITY_FORWARD SOURCE_FOLDER [NAME...]

For each model: texts of 1 to 512 tokens and pairs, each once alone and once in ragged batches.
Alone and in company must give the same bits; and no logit may differ from the reference's by more
than LIMIT. Ends with 77 ("skipped") where the reference or the vocabularies are not there.
"""

import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from array import array

LIMIT = 1e-5  # the largest seen is 2e-6
SKIPPED = 77
BATCH_TOKENS_MAX = 2048
SEED = 7

UNCASED = "bert-base-uncased"
CASED = "bert-base-cased"
MULTILINGUAL = "bert-base-multilingual-cased"

# name -> vocabulary, arguments of make_random_model.py, lengths beside the short ones
MODELS = {
    "distilbert base": (UNCASED, "--seed 1", [17, 64, 129, 300, 511, 512]),
    "distilbert base in float16": (UNCASED, "--layers 2 --dtype float16 --seed 2", [33, 512]),
    "bert of 4 layers": (
        CASED,
        "--architecture bert --layers 4 --labels 5 --cased --seed 3",
        [48, 200, 512],
    ),
    "bert, multilingual, bfloat16, old names": (
        MULTILINGUAL,
        "--architecture bert --layers 2 --dim 128 --heads 2 --ffn 512 --labels 3 --cased "
        "--dtype bfloat16 --old-norm-names --problem single_label_classification --seed 4",
        [100, 512],
    ),
    "distilbert, regression, relu": (
        UNCASED,
        "--layers 3 --dim 192 --heads 3 --ffn 384 --labels 1 --problem regression "
        "--activation relu --seed 5",
        [90, 512],
    ),
    "bert, multi-label, wide eps, short": (
        CASED,
        "--architecture bert --layers 2 --dim 256 --heads 8 --ffn 1024 --labels 28 --cased "
        "--problem multi_label_classification --layer-norm-eps 1e-5 --positions 130 --seed 6",
        [129, 130],
    ),
    "distilbert of odd sizes": (
        UNCASED,
        "--layers 2 --dim 60 --heads 5 --ffn 100 --labels 7 --positions 77 --seed 8",
        [77],
    ),
}
SHORT_LENGTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 31]


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def make_sequences(vocab_size, lengths, pairs, rng):
    """[(token ids, index of the first token of type 1)]: each length alone, and as a pair."""
    sequences = []
    for length in lengths:
        ids = [rng.randrange(vocab_size) for _ in range(length)]
        sequences.append((ids, length))
        if pairs and length >= 2:
            sequences.append((ids, rng.randrange(1, length)))
    return sequences


def ragged(sequences, rng):
    """All sequences in random order and in batches of random size; and that order."""
    order = list(range(len(sequences)))
    rng.shuffle(order)
    batches, batch, n_tokens = [], [], 0
    for i in order:
        length = len(sequences[i][0])
        if batch and (n_tokens + length > BATCH_TOKENS_MAX or rng.random() < 0.15):
            batches.append(batch)
            batch, n_tokens = [], 0
        batch.append(sequences[i])
        n_tokens += length
    return batches + [batch], order


def write_batches(path, batches):
    words = array("I", [len(batches)])
    for batch in batches:
        words.append(len(batch))
        for ids, type_start in batch:
            words.extend([len(ids), type_start, *ids])
    with open(path, "wb") as file:
        words.tofile(file)


def forward(program, folder, batches, n_labels):
    """Our logits as rows of exact float32, in the order of the batches."""
    with tempfile.TemporaryDirectory(prefix="weir-parity-") as scratch:
        return forward_in(scratch, program, folder, batches, n_labels)


def forward_in(scratch, program, folder, batches, n_labels):
    batches_path, logits_path = f"{scratch}/batches", f"{scratch}/logits"
    write_batches(batches_path, batches)
    subprocess.run([program, folder, batches_path, logits_path], check=True)
    with open(logits_path, "rb") as file:
        values = [value for (value,) in struct.iter_unpack("<f", file.read())]
    return [values[i : i + n_labels] for i in range(0, len(values), n_labels)]


def difference(rows, others):
    return max(abs(a - b) for row, other in zip(rows, others) for a, b in zip(row, other))


def compare(program, folder, lengths, reference):
    """What is wrong with this model, as sentences."""
    model = reference.load(folder)
    rng = random.Random(SEED)
    bert = model.config.model_type == "bert"
    positions = model.config.max_position_embeddings
    lengths = [length for length in SHORT_LENGTHS + lengths if length <= positions]
    sequences = make_sequences(model.config.vocab_size, lengths, bert, rng)
    n_labels = model.config.num_labels

    alone = forward(program, folder, [[sequence] for sequence in sequences], n_labels)
    batches, order = ragged(sequences, rng)
    together = forward(program, folder, batches, n_labels)
    expected = reference.logits(model, sequences)
    spread = max(map(max, expected)) - min(map(min, expected))
    worst = difference(alone, expected)
    print(
        f"  {len(sequences)} sequences, {len(batches)} batches, logits spread over {spread:.2f}, "
        f"largest difference {worst:.1e}"
    )
    wrong = []
    if len(alone) != len(sequences) or len(together) != len(sequences):
        wrong.append("logits are missing")
    if not worst <= LIMIT:
        wrong.append(f"a logit differs by {worst:.2e}, more than {LIMIT:.0e}")
    wrong += [
        f"a text of {len(sequences[i][0])} tokens has other bits in a batch than alone"
        for place, i in enumerate(order)
        if together[place] != alone[i]
    ]
    if spread < 0.1:
        wrong.append("the logits hardly differ, so that the comparison says nothing")
    return wrong


def judge_default(program, source):
    """What is wrong with the embedded model's answers: its card must keep its word."""
    import tokenizers

    folder = f"{source}/models/tiny-sst2"
    with open(f"{folder}/README.md", encoding="utf-8") as file:
        promised = float(re.search(r"\*\*([\d.]+)%\*\*", file.read()).group(1)) / 100
    with open(f"{source}/../shared/data/sst2/dev.tsv", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t", 1) for line in file][1:]
    tokenizer = tokenizers.BertWordPieceTokenizer(f"{folder}/vocab.txt", lowercase=True)
    texts = [tokenizer.encode(text).ids for _, text in rows]
    batches = [[(ids, len(ids)) for ids in texts[i : i + 64]] for i in range(0, len(texts), 64)]
    logits = forward(program, folder, batches, 2)
    right = sum((row[1] > row[0]) == (label == "1") for row, (label, _) in zip(logits, rows))
    accuracy = right / len(rows)
    print(f"  {right} of {len(rows)} sentences right, {accuracy:.2%}; the card says {promised:.1%}")
    return [] if abs(accuracy - promised) < 0.0006 else ["the card says something else"]


def make_model(source, folder, vocabulary, arguments):
    script = f"{source}/scripts/make_random_model.py"
    vocab = f"{source}/../shared/data/tokenizer/{vocabulary}.vocab.txt"
    command = [sys.executable, script, folder, "--vocab", vocab, *arguments.split()]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def enter_reference(source):
    """Goes on under the environment's own Python."""
    venv = os.path.realpath(f"{source}/build/venv-reference")
    if os.path.realpath(sys.prefix) == venv:
        return
    if not os.path.exists(f"{venv}/bin/python"):
        skip("no build/venv-reference: scripts/make_venvs makes it")
    os.execv(f"{venv}/bin/python", [f"{venv}/bin/python", *sys.argv])


def report(wrong, start):
    for sentence in wrong:
        print(f"  WRONG: {sentence}")
    print(f"  {time.time() - start:.1f} s", flush=True)
    return bool(wrong)


def run_default(program, source, reference):
    start = time.time()
    print("the embedded default, models/tiny-sst2")
    wrong = compare(program, f"{source}/models/tiny-sst2", [100, 512], reference)
    return report(wrong + judge_default(program, source), start)


def main():
    program, source, *names = sys.argv[1:]
    enter_reference(source)
    if not os.path.exists(f"{source}/../shared/data/tokenizer/{UNCASED}.vocab.txt"):
        skip("no vocabularies in ../shared/data/tokenizer")
    try:
        import reference
    except ImportError as error:
        skip(f"build/venv-reference is not whole ({error}): scripts/make_venvs makes it anew")
    reference.torch.set_num_threads(2)

    failed = run_default(program, source, reference) if not names else False
    with tempfile.TemporaryDirectory(prefix="weir-parity-") as scratch:
        for name, (vocabulary, arguments, lengths) in MODELS.items():
            if names and name not in names:
                continue
            start = time.time()
            print(name)
            folder = f"{scratch}/{name.replace(' ', '-')}"
            make_model(source, folder, vocabulary, arguments)
            wrong = compare(program, folder, lengths, reference)
            shutil.rmtree(folder)
            failed = report(wrong, start) or failed
    sys.exit(failed)


if __name__ == "__main__":
    main()
