#!/usr/bin/env python3
"""Plants bugs in the CUDA engine, one at a time, and counts how many the emulated tests catch.

    mutate.py BUILD_FOLDER [WORD]     only mutants whose file or text holds WORD
    mutate.py BUILD_FOLDER --share 2/5    every fifth of them, from the second on: five runs, on as
                                          many machines or evenings, are a whole one
    mutate.py --check                 plants nothing: does each mutant still apply?

Each mutant is one changed file in an overlay that the compiler looks into first; only what depends
on it is compiled again, then the tests run until one fails. At least 95 in 100 must be caught. What
survives is printed: either a test is missing, or the mutant changes nothing that can be seen (then
it does not belong into mutants.py).
"""
import argparse
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
    "cuda_trial", "cuda_tune", "cuda_blas"
]
STATUS_SKIPPED = 77
PTX_FILE = "kernels/portable.cuh"  # what only nvcc sees
PTX_SETS = ["float16", "fp8"]
PTX_TESTS = ["ptx_head_kernels", "ptx_fp8_kernels", "ptx_attention"]
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


def text_of(file):
    with open(os.path.join(ROOT, "gpu_worker", file), encoding="utf-8") as text:
        return text.read()


def check():
    """How many mutants cannot be planted as they were meant: what they change must stand once."""
    n_stale = 0
    for i, (file, old, new) in enumerate(mutants.MUTANTS):
        found = text_of(file).count(old)
        if found != 1:
            print(f"STALE: {file}: {old!r} stands there {found} times, not once")
        elif old == new or (file, old, new) in mutants.MUTANTS[:i]:
            print(f"STALE: {file}: {old!r} changes nothing, or is there twice")
        else:
            continue
        n_stale += 1
    print(f"{n_stale} of {len(mutants.MUTANTS)} mutants are stale")
    return n_stale


def plant(file, old, new, overlay):
    text = text_of(file)
    if old not in text:
        return False
    target = os.path.join(overlay, "gpu_worker", file)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "w", encoding="utf-8") as out:
        out.write(text.replace(old, new))
    return True


def failing_ptx_test(overlay, build):
    """For what the host's compiler does not see: nvcc's own code of it."""
    cache = open(os.path.join(build, "CMakeCache.txt"), encoding="utf-8").read()
    nvcc = cache.split("WEIR_NVCC:FILEPATH=")[1].split("\n")[0]
    command = [nvcc, "-std=c++17", "-O3", "-ptx", "-arch=compute_90", f"-I{overlay}", f"-I{ROOT}"]
    ptx = [f"{build}/tests/cuda/kernels_{s}.90.ptx" for s in ("bfloat16", "float32")]
    for kernel_set in PTX_SETS:
        kernels = os.path.join(ROOT, f"gpu_worker/kernels/kernels_{kernel_set}.cu")
        ptx.append(os.path.join(overlay, f"mutated_{kernel_set}.ptx"))
        subprocess.run([*command, kernels, "-o", ptx[-1]], check=True)
    environment = dict(os.environ, WEIR_PTX=":".join(ptx))
    for test in PTX_TESTS:
        try:
            ended = subprocess.run([f"{build}/tests/{test}"], capture_output=True,
                                   timeout=TEST_TIMEOUT_S, env=environment)
        except subprocess.TimeoutExpired:
            return test + " (time-out)"
        if ended.returncode != 0:
            return test
    return None


def failing_test(file, old, overlay, objects, build):
    """The first test that fails on the mutant in the overlay, or None."""
    if file == PTX_FILE:
        return failing_ptx_test(overlay, build)
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
    own = os.path.splitext(os.path.basename(file))[0]  # the file's own test first: it knows best
    order = sorted(HOST_TESTS, key=lambda name: not own.startswith(name))
    if kernel:
        order = KERNEL_TESTS + ["encoder_cuda"]
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
        if ended.returncode not in (0, STATUS_SKIPPED):
            return name
    return None


def share_of(text):
    """(i, n) of "i/n"."""
    i, n = (int(word) for word in text.split("/"))
    if not 1 <= i <= n:
        raise ValueError
    return i, n


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("build", nargs="?", help="the folder of the release build")
    parser.add_argument("word", nargs="?", default="", help="in the file or the text")
    parser.add_argument("--share", type=share_of, default=(1, 1), metavar="I/N")
    parser.add_argument("--check", action="store_true", help="plant nothing")
    options = parser.parse_args()
    if options.check:
        sys.exit(1 if check() else 0)
    if not options.build:
        parser.error("BUILD_FOLDER or --check is needed")
    build, word, (share, n_shares) = os.path.abspath(options.build), options.word, options.share
    chosen = [m for m in mutants.MUTANTS if word in m[0] or word in m[1]][share - 1::n_shares]
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
