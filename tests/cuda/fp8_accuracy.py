#!/usr/bin/env python3
"""What --dtype fp8 costs in accuracy: a labelled file through the CPU backend in float32 and
through the CUDA backend in float16 and fp8, whole servers all, and one line for each.

    fp8_accuracy.py --model-id FOLDER --calibration FILE --tsv FILE [--standin BUILD] [--limit N]

The TSV has a head and two columns, label number and text. With --standin the card is the stand-in
that BUILD holds: the figures are then computed in emulation, where sums have another order than on
a card. Exit 1 where fp8 loses more than --allow-points of accuracy against float32, 77 where there
is no such TSV.
"""
import argparse
import json
import os
import shutil
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path[:0] = [os.path.join(TESTS, "integration"), os.path.join(TESTS, "frontend")]
from harness import Supervisor  # noqa: E402
from http_harness import Client  # noqa: E402

TEXTS_A_REQUEST = 128
FLOAT16_ERROR_MAX = 1e-2


def read_examples(path, limit):
    with open(path, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t", 1) for line in file][1:]
    return [(int(label), text) for label, text in rows[:limit]]


def standin_environment(build, folder):
    """The worker looks for the module beside its own file, so it gets a folder of its own."""
    build = os.path.abspath(build)
    shutil.copytree(os.path.join(build, "bin"), os.path.join(folder, "bin"))
    os.mkdir(os.path.join(folder, "lib"))
    shutil.copy(os.path.join(build, "tests/standin/lib/weir_encoder_cuda.so"),
                os.path.join(folder, "lib"))
    return {"WEIR_BIN": os.path.join(folder, "bin"),
            "WEIR_CUBLASLT": os.path.join(build, "tests/libweir_emulated_gpu.so")}


def logits_of(port, texts, n_labels):
    """(n_texts, n_labels), in the order of the labels' numbers."""
    rows = []
    with Client(port) as client:
        labels = client.request("GET", "/info", "", {}).json()["model_type"]["classifier"]
        names = [labels["id2label"][str(i)] for i in range(n_labels)]
        for i in range(0, len(texts), TEXTS_A_REQUEST):
            body = {"text": texts[i:i + TEXTS_A_REQUEST], "function_to_apply": "none",
                    "top_k": None}
            reply = client.request("POST", "/predict", json.dumps(body),
                                   {"Content-Type": "application/json"})
            assert reply.status == 200, reply
            for row in reply.json()["prediction"]:
                scores = {each["label"]: each["score"] for each in row}
                rows.append([scores[name] for name in names])
    return rows


def best(row):
    return row.index(max(row))


def measure(options, environment, examples, backend, dtype):
    env = {**environment, "MODEL_ID": options.model_id, "BACKEND": backend, "DTYPE": dtype,
           "WEIR_CUDA_FP8_FILE": os.path.abspath(options.calibration),
           "WEIR_CUDA_WATCHDOG_MS": "600000"}
    with Supervisor("--frontends", "1", "--max-batch-tokens", "1024", "--request-timeout-ms",
                    "3600000", "--hang-timeout-ms", "3600000", env=env) as server:
        return logits_of(server.port, [text for _, text in examples], options.labels)


def report(word, logits, reference, examples):
    """Prints a line; the accuracy in per cent, and the largest difference of a logit."""
    right = sum(best(row) == label for row, (label, _) in zip(logits, examples, strict=True))
    flips = sum(best(a) != best(b) for a, b in zip(logits, reference, strict=True))
    differences = sorted(abs(x - y) for a, b in zip(logits, reference, strict=True)
                         for x, y in zip(a, b, strict=True))
    accuracy = 100 * right / len(examples)
    print(f"{word:14} {right} of {len(examples)} right, {accuracy:.2f} %; {flips} labels differ "
          f"from float32's; logits differ by {differences[-1]:.4f} at most, "
          f"{differences[len(differences) // 2]:.4f} in the median", flush=True)
    return accuracy, differences[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model-id", required=True)
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--tsv", required=True)
    parser.add_argument("--standin", help="the build folder whose stand-in plays the card")
    parser.add_argument("--limit", type=int, help="examples at most")
    parser.add_argument("--labels", type=int, default=2, help="labels of the model")
    parser.add_argument("--allow-points", type=float, default=1.0)
    options = parser.parse_args()
    if not os.path.exists(options.tsv):
        print(f"skipped: no {options.tsv}")
        sys.exit(77)
    examples = read_examples(options.tsv, options.limit)
    with tempfile.TemporaryDirectory(prefix="weir-fp8-") as folder:
        environment = standin_environment(options.standin, folder) if options.standin else {}
        where = "in emulation" if options.standin else "on the card"
        print(f"computed {where}: {options.model_id}, {options.tsv}")
        reference = measure(options, environment, examples, "cpu", "float32")
        exact, _ = report("cpu float32", reference, reference, examples)
        float16, error = report("cuda float16", measure(options, environment, examples, "cuda",
                                                        "float16"), reference, examples)
        fp8, _ = report("cuda fp8", measure(options, environment, examples, "cuda", "fp8"),
                        reference, examples)
    print(f"accuracy against float32: float16 {float16 - exact:+.2f} points, fp8 "
          f"{fp8 - exact:+.2f}")
    sys.exit(0 if exact - fp8 <= options.allow_points and error < FLOAT16_ERROR_MAX else 1)


if __name__ == "__main__":
    main()
