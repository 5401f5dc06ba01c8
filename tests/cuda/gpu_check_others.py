#!/usr/bin/env python3
"""DistilBERT of the base shape by others on the card at hand, at gpu_check's shapes, and the two
ceilings. Prints one JSON object; {"skipped": "..."} where the package or its GPU part is missing.

    gpu_check_others.py torch|onnxruntime IDS     IDS: a text a line, its token ids

float16, scaled-dot-product attention, padded to the longest text of a batch: what a user of
transformers gets. Compiled too, if that works here. Weights are random: they cost the same time.
"""
import json
import os
import statistics
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
LATENCY_TOKENS = (16, 32, 64, 128)
BATCH_TOKENS = (512, 2048, 8192)
REPETITIONS, WARM_UP = 50, 5
COMPILE_BUDGET_S = 45


def end(figures):
    print(json.dumps(figures))
    sys.exit(0)


def batches(path):
    """{name: [lengths]} of the batches that are timed."""
    with open(path, encoding="ascii") as file:
        real = [len(line.split()) for line in file]
    shapes = {f"even32_{tokens}": [32] * (tokens // 32) for tokens in BATCH_TOKENS}
    for tokens in BATCH_TOKENS:
        lengths, i = [], 0
        while sum(lengths) + real[i % len(real)] <= tokens and len(lengths) < 512:
            lengths.append(real[i % len(real)])
            i += 1
        shapes[f"ragged_{tokens}"] = lengths
    return shapes


def time_calls(call, wait, repetitions=REPETITIONS):
    """(median of one call that is waited for, seconds a call when they follow one another)"""
    for _ in range(WARM_UP):
        call()
    wait()
    alone = []
    for _ in range(repetitions):
        begin_s = time.perf_counter()
        call()
        wait()
        alone.append(time.perf_counter() - begin_s)
    begin_s = time.perf_counter()
    for _ in range(repetitions):
        call()
    wait()
    return statistics.median(alone), (time.perf_counter() - begin_s) / repetitions


def table(run, wait, path):
    """run(ids, mask) with the padded batches of every shape; ids are made by `run`'s maker."""
    figures = {}
    for tokens in LATENCY_TOKENS:
        alone_s, _ = time_calls(run([tokens]), wait)
        figures[f"1x{tokens}"] = {"median_us": round(alone_s * 1e6, 1)}
    for name, lengths in batches(path).items():
        _, each_s = time_calls(run(lengths), wait, 20)
        figures[name] = {"texts": len(lengths), "tokens": sum(lengths),
                         "mtok_s": round(sum(lengths) / each_s / 1e6, 3),
                         "batch_us": round(each_s * 1e6, 1)}
    return figures


def ceilings(torch):
    size = 8192
    a = torch.randn(size, size, device="cuda", dtype=torch.float16)
    b = torch.randn(size, size, device="cuda", dtype=torch.float16)
    _, each_s = time_calls(lambda: a @ b, torch.cuda.synchronize, 20)
    source = torch.randn(2**28, device="cuda")
    target = torch.empty_like(source)
    _, copy_s = time_calls(lambda: target.copy_(source), torch.cuda.synchronize, 20)
    return {"matmul_tflop_s": round(2 * size**3 / each_s / 1e12, 1),
            "copy_tb_s": round(2 * 4 * source.numel() / copy_s / 1e12, 3)}


def make_model(torch, transformers):
    config = transformers.DistilBertConfig(num_labels=2)  # attention: sdpa, where there is one
    torch.manual_seed(1)
    return transformers.DistilBertForSequenceClassification(config).half().cuda().eval()


def run_torch(path):
    try:
        import torch
        import transformers
    except ImportError as error:
        end({"skipped": f"{sys.executable} has no PyTorch with transformers ({error})"})
    if not torch.cuda.is_available():
        end({"skipped": f"the PyTorch of {sys.executable} sees no GPU"})
    figures = {"torch": torch.__version__, "transformers": transformers.__version__,
               **ceilings(torch)}
    model = make_model(torch, transformers)
    figures["attention"] = getattr(model.config, "_attn_implementation", "unknown")

    def runner(forward):
        def prepare(lengths):
            longest = max(lengths)
            ids = torch.randint(1000, 30000, (len(lengths), longest), device="cuda")
            mask = torch.zeros_like(ids)
            for row, length in enumerate(lengths):
                mask[row, :length] = 1
            return lambda: forward(input_ids=ids, attention_mask=mask)
        return prepare

    with torch.inference_mode():
        figures["eager"] = table(runner(model), torch.cuda.synchronize, path)
        print(json.dumps(figures), flush=True)  # the last line counts; compiling may take too long
        try:
            compiled = torch.compile(model, mode="reduce-overhead", dynamic=False)
            begin_s, figures["compiled"] = time.perf_counter(), {}
            for tokens in LATENCY_TOKENS:
                if time.perf_counter() - begin_s > COMPILE_BUDGET_S:
                    break
                alone_s, _ = time_calls(runner(compiled)([tokens]), torch.cuda.synchronize)
                figures["compiled"][f"1x{tokens}"] = {"median_us": round(alone_s * 1e6, 1)}
        except Exception as error:  # whatever a compiler may say
            figures["compiled"] = f"does not work here: {str(error)[:300]}"
    end(figures)


def run_onnxruntime(path):
    try:
        import numpy
        import onnxruntime
    except ImportError as error:
        end({"skipped": f"{sys.executable} has no ONNX Runtime ({error})"})
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        end({"skipped": f"ONNX Runtime {onnxruntime.__version__} here has no GPU part"})
    import tempfile
    import torch
    import transformers
    model = make_model(torch, transformers)
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "model.onnx")
        ids = torch.ones(2, 16, dtype=torch.long, device="cuda")
        axes = {name: {0: "texts", 1: "tokens"} for name in ("input_ids", "attention_mask")}
        torch.onnx.export(model, (ids, ids), file, input_names=["input_ids", "attention_mask"],
                          output_names=["logits"], dynamic_axes=axes, dynamo=False)
        session = onnxruntime.InferenceSession(file, providers=["CUDAExecutionProvider"])

    def prepare(lengths):
        ids = numpy.full((len(lengths), max(lengths)), 2000, numpy.int64)
        mask = numpy.zeros_like(ids)
        for row, length in enumerate(lengths):
            mask[row, :length] = 1
        return lambda: session.run(None, {"input_ids": ids, "attention_mask": mask})

    end({"onnxruntime": onnxruntime.__version__, **table(prepare, lambda: None, path)})


if __name__ == "__main__":
    {"torch": run_torch, "onnxruntime": run_onnxruntime}[sys.argv[1]](sys.argv[2])
