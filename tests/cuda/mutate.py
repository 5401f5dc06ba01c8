#!/usr/bin/env python3
"""Plants bugs in the CUDA engine, one at a time, and counts how many the emulated tests catch.

    mutate.py BUILD_FOLDER [WORD]     only mutants whose file or text holds WORD

Each mutant is one changed file in an overlay that the compiler looks into first; only what depends
on it is compiled again, then the tests run until one fails. At least 95 in 100 must be caught. What
survives is printed: either a test is missing, or the mutant changes nothing that can be seen (then
it does not belong into mutants.py).
"""
import os
import subprocess
import sys
import tempfile

import mutants

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
CAUGHT_AT_LEAST = 0.95
TEST_TIMEOUT_S = 60
FLAGS = "-O1 -w -D_GNU_SOURCE -fPIC -fno-omit-frame-pointer".split()
KERNEL_TESTS = ["row_kernels", "head_kernels", "attention", "fp8_kernels"]
HOST_TESTS = [
    "batch", "cuda_flight", "encoder_cuda", "encoder_fp8", "cuda_graphs", "cuda_start",
    "cuda_trial", "cuda_tune"
]
FP8_FILES = ["kernels/fp8.cuh"]  # and lines elsewhere that speak of codes
LIBRARIES = [
    "tests/cuda/libweir_encoder_cuda_standin.a",
    "tests/cuda/libweir_cuda_fixture.a",
    "tests/cuda/libweir_emulated_kernels.a",
    "tests/gpu_worker/libweir_test_models.a",
    "models/libweir_models.a",
    "shm/libweir_base.a",
    "tests/libweir_emulated_gpu.so",
]


def include_flags(overlay, build):
    headers = open(os.path.join(build, "CMakeCache.txt"), encoding="utf-8").read()
    cuda = headers.split("WEIR_CUDA_INCLUDE:PATH=")[1].split("\n")[0]
    return [f"-I{overlay}", f"-I{ROOT}", f"-I{ROOT}/tests/cuda", f"-isystem{cuda}"]


def compile_one(source, output, flags):
    language = ["-x", "c", "-std=gnu17"] if source.endswith(".c") else ["-x", "c++", "-std=c++17"]
    subprocess.run(["gcc", *FLAGS, *flags, *language, "-c", source, "-o", output], check=True)


def link(test, objects, build, output):
    libraries = [f"{build}/{name}" for name in LIBRARIES]
    system = [f"-Wl,-rpath,{build}/tests", "-ljansson", "-lpthread", "-ldl", "-lm"]
    subprocess.run(["g++", test, *objects, *libraries, *system, "-o", output], check=True)


def build_tests(folder, build):
    """The tests' own objects, once."""
    objects = {}
    for name in KERNEL_TESTS + HOST_TESTS:
        suffix = ".cpp" if name in KERNEL_TESTS else ".c"
        objects[name] = os.path.join(folder, name + ".o")
        source = os.path.join(ROOT, "tests/cuda", "test_" + name + suffix)
        compile_one(source, objects[name], include_flags(folder, build))
    return objects


def plant(file, old, new, overlay):
    text = open(os.path.join(ROOT, "gpu_worker", file), encoding="utf-8").read()
    if old not in text:
        return False
    target = os.path.join(overlay, "gpu_worker", file)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "w", encoding="utf-8") as out:
        out.write(text.replace(old, new, 1))
    return True


def failing_test(file, old, overlay, objects, build):
    """The first test that fails on the mutant in the overlay, or None."""
    mutated = os.path.join(overlay, "mutated.o")
    kernel = file.startswith("kernels/")
    fp8 = file in FP8_FILES or (kernel and "code" in old)
    kernel_set = "fp8" if fp8 else "float16"
    source = os.path.join(ROOT, f"gpu_worker/kernels/kernels_{kernel_set}.cu")
    if not kernel:
        source = os.path.join(overlay, "gpu_worker", file)
    try:
        compile_one(source, mutated, include_flags(overlay, build))
    except subprocess.CalledProcessError:
        return "the compiler"
    order = KERNEL_TESTS + ["encoder_cuda"] if kernel else HOST_TESTS
    environment = dict(os.environ, WEIR_CUBLASLT=f"{build}/tests/libweir_emulated_gpu.so")
    if file.startswith("kernels/attention"):
        order = ["attention", "encoder_cuda"]
    if fp8:
        order = ["fp8_kernels", "encoder_fp8"]
    for name in order:
        program = os.path.join(overlay, name)
        link(objects[name], [mutated], build, program)
        try:
            ended = subprocess.run(
                [program], capture_output=True, timeout=TEST_TIMEOUT_S, env=environment
            )
        except subprocess.TimeoutExpired:
            return name + " (time-out)"
        if ended.returncode != 0:
            return name
    return None


def main():
    build, word = os.path.abspath(sys.argv[1]), (sys.argv[2:] or [""])[0]
    chosen = [m for m in mutants.MUTANTS if word in m[0] or word in m[1]]
    caught = planted = 0
    with tempfile.TemporaryDirectory() as folder:
        objects = build_tests(folder, build)
        for file, old, new in chosen:
            with tempfile.TemporaryDirectory() as overlay:
                if not plant(file, old, new, overlay):
                    print(f"STALE: {file}: {old!r} stands there no longer", flush=True)
                    continue
                planted += 1
                by = failing_test(file, old, overlay, objects, build)
                caught += by is not None
                verdict = f"caught by {by}" if by else "SURVIVED"
                print(f"{verdict}: {file}: {old!r} -> {new!r}", flush=True)
    print(f"{caught} of {planted} mutants caught, {len(chosen) - planted} stale")
    sys.exit(0 if planted == len(chosen) and caught >= CAUGHT_AT_LEAST * planted else 1)


if __name__ == "__main__":
    main()
