#!/usr/bin/env bash
# Does the host side hold with CUDA 12.9? Compiles it against 12.9's headers and links it with
# 12.9's cudart into a module that lacks nothing but the kernels (cuda12_kernels.py compiles those;
# only nvcc can join the two), and opens it as the worker would: with no card to be seen it must
# refuse in a sentence.
#
#   cuda12_host.sh VENV WORK_FOLDER CUDA13_INCLUDE TEST_MODULE STANDIN_MODULE LIBRARY...
#
# VENV as scripts/cuda12_toolkit makes it. Without its --cublas, cublasLt.h is CUDA 13's, whose
# types that CUDA 12 lacks become int; cuda_blas.c asserts what we need of both. The libraries are
# those of ours that the module links.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly root venv=$1 work=$2 cuda13=$3 test_module=$4 standin=$5
readonly -a libraries=("${@:6}")
readonly EXIT_SKIPPED=77

find_toolkit() {
    local found
    found=$(find "$venv/" -type d -path '*/nvidia/cuda_runtime' -print -quit 2>/dev/null) || true
    [[ -n $found ]] || {
        echo "no CUDA 12 toolkit in $venv: run scripts/cuda12_toolkit" >&2
        exit "$EXIT_SKIPPED"
    }
    toolkit=${found%/cuda_runtime}
}

build() {
    local kernel word kernels="$work/kernels.c"
    echo '#include "gpu_worker/kernels/kernels.h"' >"$kernels"
    for kernel in "$root"/gpu_worker/kernels/kernels_*.cu; do
        word=${kernel##*/kernels_}
        echo "const struct kernel_set kernel_set_${word%.cu};" >>"$kernels"
    done
    local -a sources=("$root"/gpu_worker/cuda_*.c "$root/gpu_worker/encoder_cuda.c" "$kernels")
    local -a cublas=(-isystem "$toolkit/cublas/include")
    [[ -d $toolkit/cublas ]] ||
        cublas=(-idirafter "$cuda13" -DcudaEmulationStrategy=int
            -DcudaEmulationMantissaControl=int -DcudaEmulationSpecialValuesSupport=int)
    gcc -std=gnu17 -D_GNU_SOURCE -O1 -fPIC -shared -Wall -Wextra -Wno-unused-parameter -Werror \
        -I"$root" -isystem "$toolkit/cuda_runtime/include" -isystem "$toolkit/cuda_nvcc/include" \
        "${cublas[@]}" "${sources[@]}" -Wl,-z,defs "${libraries[@]}" \
        "$toolkit/cuda_runtime/lib/libcudart.so.12" \
        -Wl,-rpath,"$toolkit/cuda_runtime/lib" -ljansson -ldl -lpthread -lrt -lm \
        -o "$work/weir_encoder_cuda.so"
    grep -q 'libcudart.so.12' <(readelf -d "$work/weir_encoder_cuda.so") ||
        { echo "the module does not ask for cudart 12" >&2 && exit 1; }
}

main() {
    find_toolkit
    mkdir -p "$work"
    build
    CUDA_VISIBLE_DEVICES='' "$test_module" "$work/weir_encoder_cuda.so" "$standin"
}

main
