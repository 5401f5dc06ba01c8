#!/usr/bin/env python3
"""Predicts what weir's GPU engine would do on a card that nobody here has. A prediction, not a
measurement: arithmetic from the constants below, which are other people's measurements and
vendors' data.

    scripts/predict_l4.py                      tables for the L4, float16 and fp8
    scripts/predict_l4.py --card h100          the same for an H100
    scripts/predict_l4.py --from gpu_check.json  prints below it what scripts/gpu_check measured

A batch of T tokens in sentences of S tokens costs
    compute = FLOP / sustained FLOP/s         memory = weight bytes / sustained bytes/s
    time    = launch chain + max(compute, memory) + 35 % of the smaller of the two
"""
import argparse
import json
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests/cuda"))
import gpu_check_steps  # noqa: E402

HIDDEN, FFN, LAYERS = 768, 3072, 6
OVERLAP_LOSS = 0.35  # what the smaller term adds: the two do not overlap perfectly

# Sustained, not peak: a 72 W L4 keeps about half of its boost clock's rate (T4 forum thread,
# MLPerf L4: 113 of 242 int8 T); H100 from measured 798 TF bf16 at 66 %, the share of the best
# published engine.
CARDS = {
    "l4": {"float16": 60e12, "fp8": 105e12, "bytes": 255e9, "launch_us": 65},
    "a100": {"float16": 190e12, "fp8": None, "bytes": 1.4e12, "launch_us": 60},
    "h100": {"float16": 560e12, "fp8": 900e12, "bytes": 2.8e12, "launch_us": 55},
}


def flop(tokens, sentence):
    """As executed: the last layer computes only keys and values for all, the rest for [CLS]."""
    whole = (LAYERS - 1) * (8 * HIDDEN**2 + 4 * HIDDEN * FFN + 4 * sentence * HIDDEN)
    keys_values = 4 * HIDDEN**2
    tail = 4 * HIDDEN**2 + 4 * HIDDEN * FFN + 4 * sentence * HIDDEN + 2 * HIDDEN**2
    return tokens * (whole + keys_values) + tokens / sentence * tail


def flop_left_in_float16(tokens, sentence):
    """By --dtype fp8: attention, the last layer's [CLS] rows, the pooler."""
    attention = (LAYERS - 1) * 4 * sentence * HIDDEN
    tail = 6 * HIDDEN**2 + 4 * HIDDEN * FFN + 4 * sentence * HIDDEN
    return tokens * attention + tokens / sentence * tail


def weight_bytes(dtype):
    tail = 2 * HIDDEN**2 + 2 * HIDDEN * FFN + HIDDEN**2  # 16 bits with either type
    body = (LAYERS - 1) * (4 * HIDDEN**2 + 2 * HIDDEN * FFN) + 2 * HIDDEN**2
    return body * (2 if dtype == "float16" else 1) + tail * 2


def seconds(card, dtype, tokens, sentence):
    left = flop_left_in_float16(tokens, sentence)
    compute = (flop(tokens, sentence) - left) / card[dtype] + left / card["float16"]
    memory = weight_bytes(dtype) / card["bytes"]
    return card["launch_us"] * 1e-6 + max(compute, memory) + OVERLAP_LOSS * min(compute, memory)


def table(name, sentence):
    card = CARDS[name]
    for dtype in ("float16", "fp8"):
        if card[dtype] is None:
            print(f"{name.upper()} has no fp8: --dtype fp8 is refused there")
            continue
        print(f"PREDICTION for {name.upper()}, {dtype}, sentences of {sentence} tokens "
              "(not measured)")
        print(f"{'tokens':>7} {'us':>8} {'Mtok/s':>8} {'texts/s':>9}")
        for tokens in (32, 128, 256, 512, 1024, 2048, 8192):
            s = seconds(card, dtype, tokens, min(sentence, tokens))
            rate = tokens / s
            print(f"{tokens:7} {s * 1e6:8.0f} {rate / 1e6:8.2f} {rate / sentence:9.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--card", choices=sorted(CARDS), default="l4")
    parser.add_argument("--sentence", type=int, default=32, help="tokens of a text")
    parser.add_argument("--from", dest="measured", help="JSON that gpu_check wrote on a card")
    arguments = parser.parse_args()
    table(arguments.card, arguments.sentence)
    if arguments.measured:
        with open(arguments.measured, encoding="utf-8") as file:
            measured = json.load(file)
        card = measured["steps"].get("machine", {}).get("figures", {}).get("card", "no card")
        print("DRY RUN: these figures mean nothing" if measured["dry_run"]
              else f"MEASURED by scripts/gpu_check on {card}")
        print("\n".join(gpu_check_steps.table(measured)) or "  no step has a time or a rate")


if __name__ == "__main__":
    main()
