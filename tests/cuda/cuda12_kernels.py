#!/usr/bin/env python3
"""Compiles every kernel with CUDA 12.9's own C++ front end and assembler, and holds ptxas' report
against the same budget as nvcc 13's.

    cuda12_kernels.py VENV WORK_FOLDER TARGET...     VENV as scripts/cuda12_toolkit makes it

PyPI has no nvcc of CUDA 12, but it has NVRTC, which is the same compiler as a library. It takes
device code only: portable.cuh's LAUNCH then merely names the kernel, so every instantiation that
the launchers ask for is compiled. Exit status 77 says that there is no toolkit in VENV.
"""
import ctypes
import glob
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
KERNELS = os.path.join(ROOT, "gpu_worker/kernels")
EXIT_SKIPPED = 77
sys.path.insert(0, HERE)
import ptxas_budget  # noqa: E402

# NVRTC has no C library; of it the kernels use these names.
STDINT = b"""#pragma once
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long uint64_t;
typedef unsigned long uintptr_t;
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long int64_t;
#define UINT16_MAX 0xffff
#define UINT32_MAX 0xffffffffu
"""
# Unused variables of launchers, and tables that are static here.
EXPECTED_WARNINGS = "177,20044"


class Nvrtc:
    def __init__(self, toolkit):
        self.toolkit = toolkit
        self.library = ctypes.CDLL(os.path.join(toolkit, "cuda_nvrtc/lib/libnvrtc.so.12"))

    def call(self, name, *arguments):
        status = getattr(self.library, name)(*arguments)
        if status != 0:
            raise RuntimeError(f"{name} failed with status {status}")

    def text(self, program, what):
        size = ctypes.c_size_t()
        self.call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        self.call(f"nvrtcGet{what}", program, text)
        return text.raw

    def compile(self, path, target):
        """(SASS or None, what compiler and assembler said)."""
        options = ["--std=c++17", f"--gpu-architecture=sm_{target}", "--ptxas-options=-v",
                   "--device-as-default-execution-space", f"--diag-suppress={EXPECTED_WARNINGS}",
                   f"-I{ROOT}", *(f"-I{self.toolkit}/{part}/include"
                                  for part in ("cuda_runtime", "cuda_nvcc"))]
        words = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        headers = (ctypes.c_char_p * 1)(STDINT)
        names = (ctypes.c_char_p * 1)(b"stdint.h")
        program = ctypes.c_void_p()
        with open(path, "rb") as file:
            source = file.read()
        self.call("nvrtcCreateProgram", ctypes.byref(program), source, path.encode(), 1, headers,
                  names)
        status = self.library.nvrtcCompileProgram(program, len(options), words)
        log = self.text(program, "ProgramLog").rstrip(b"\0").decode()
        sass = self.text(program, "CUBIN") if status == 0 else None
        self.call("nvrtcDestroyProgram", ctypes.byref(program))
        return sass, log


def find_toolkit(venv):
    found = glob.glob(os.path.join(venv, "lib/python3*/site-packages/nvidia/cuda_nvrtc/lib"))
    if not found:
        print(f"no NVRTC of CUDA 12 in {venv}: run scripts/cuda12_toolkit")
        sys.exit(EXIT_SKIPPED)
    return os.path.dirname(os.path.dirname(found[0]))


def main():
    venv, work, *targets = sys.argv[1:]
    nvrtc = Nvrtc(find_toolkit(venv))
    sources = sorted(glob.glob(os.path.join(KERNELS, "*.cu")))
    if not sources or not targets:
        sys.exit("nothing to compile")
    os.makedirs(work, exist_ok=True)
    reports = []
    for target in targets:
        for source in sources:
            sass, log = nvrtc.compile(source, target)
            reports.append(os.path.join(work, f"{os.path.basename(source)}.{target}.txt"))
            with open(reports[-1], "w", encoding="utf-8") as file:
                file.write(log)
            if not sass:
                sys.exit(f"CUDA 12.9 refuses {source} for sm_{target}:\n{log}")
    found = list(ptxas_budget.breaches(
        ptxas_budget.read_reports(reports),
        ptxas_budget.read_budget(os.path.join(HERE, "ptxas_budget.txt"))))
    print("\n".join(found))
    print(f"{len(sources)} files for {' '.join(targets)} by CUDA 12.9: {len(found)} breaches")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
