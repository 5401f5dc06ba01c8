#!/usr/bin/env python3
"""The tokenizer's speed beside the `tokenizers` package's, one thread each, in the same run.

    bench_tokenizer.py BENCH_TOKENIZER VOCABULARY TEXT [--cased] [--rounds N]

BENCH_TOKENIZER is the program from bench_tokenizer.c; each line of TEXT is a text. The two take
turns and the best round of each counts, in CPU time. One JSON object a row, then the ratio. Not a
test.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
try:
    import tokenizers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
except ImportError as missing:
    sys.exit(f"{missing} (scripts/make_venvs makes build/venv with it)")

BATCH = 1000


def reference(vocabulary_path, lowercase):
    with open(vocabulary_path, encoding="utf-8", newline="\n") as file:
        ids = {line.rstrip("\n"): i for i, line in enumerate(file)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"])
    )
    tokenizer.add_special_tokens(["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"])
    return tokenizer


def measure_reference(tokenizer, lines, n_bytes):
    start = time.process_time()
    n_tokens = 0
    for i in range(0, len(lines), BATCH):
        found = tokenizer.encode_batch_fast(lines[i : i + BATCH])
        n_tokens += sum(len(encoding) for encoding in found)
    seconds = time.process_time() - start
    return {
        "engine": f"tokenizers {tokenizers.__version__}",
        "megabytes_per_second": round(n_bytes / 1e6 / seconds, 2),
        "tokens_per_second": round(n_tokens / seconds),
        "tokens": n_tokens,
    }


def measure_ours(program, folder, text):
    done = subprocess.run([program, folder, text], stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("vocabulary")
    parser.add_argument("text")
    parser.add_argument("--cased", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with open(arguments.text, encoding="utf-8", newline="\n") as file:
        lines = file.read().rstrip("\n").split("\n")
    tokenizer = reference(arguments.vocabulary, not arguments.cased)
    rows = {}
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as folder:
        os.symlink(os.path.abspath(arguments.vocabulary), os.path.join(folder, "vocab.txt"))
        with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="ascii") as file:
            json.dump({"do_lower_case": not arguments.cased}, file)
        for _ in range(arguments.rounds):
            measured = measure_ours(arguments.program, folder, arguments.text)
            measured.append(measure_reference(tokenizer, lines, os.path.getsize(arguments.text)))
            for row in measured:
                best = rows.setdefault(row["engine"], row)
                if row["megabytes_per_second"] > best["megabytes_per_second"]:
                    rows[row["engine"]] = row
    for row in rows.values():
        print(json.dumps(row))
    plain, cached, other = (row["megabytes_per_second"] for row in rows.values())
    assert len({row["tokens"] for row in rows.values()}) == 1, "they disagree about the tokens"
    print(f"words {plain / other:.0f} times, cached {cached / other:.0f} times the package")


main()
