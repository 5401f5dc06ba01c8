"""Builds gpu_check and the kernels' tests for the card at hand with nvcc and a C compiler alone: a
machine with a card often has no oneDNN, no libh2o, no jansson and no ICU. Of our sources every one
that compiles goes into a library, from which the linker takes what it needs."""
import concurrent.futures
import glob
import os
import shutil
import subprocess
import sys
import time

CALIBRATION = "models/calibration.c"  # needs a JSON library; this does not, and serves gpu_check
PLAIN_CALIBRATION = "tests/cuda/gpu_check_calibration.c"
NOT_LINKED = {"main.c", "backend.c", "shm_inspect.c"}  # they have a main(), or belong to one


class BuildError(Exception):
    """What the compiler said."""


class Builder:
    """Objects of one folder, until the time is over."""

    def __init__(self, root, folder, target, seconds):
        self.end_s = time.monotonic() + seconds
        self.root, self.folder, self.target = root, folder, target
        self.nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
        if not os.path.exists(self.nvcc):
            raise BuildError("there is no nvcc on the PATH nor in /usr/local/cuda/bin")
        self.cuda = os.path.dirname(os.path.dirname(os.path.realpath(self.nvcc)))
        os.makedirs(folder, exist_ok=True)

    def run(self, words):
        return subprocess.run(words, capture_output=True, text=True, check=False,
                              timeout=max(0.1, self.end_s - time.monotonic()))

    def compile(self, source, *flags):
        """(object or None, what was said)"""
        suffix = source.rpartition(".")[2]
        includes = [f"-I{self.root}", f"-I{self.root}/tests/cuda"]
        cuda = ["-isystem", f"{self.cuda}/include", "-isystem", "/usr/local/cuda/include"]
        words = {
            "cu": [self.nvcc, "-std=c++17", "-O3", "-Xcompiler", "-fPIC", "-gencode",
                   f"arch=compute_{self.target},code=sm_{self.target}", *includes],
            "c": ["cc", "-std=gnu17", "-O2", "-D_GNU_SOURCE", "-ffunction-sections", *includes,
                  *cuda],
            "cpp": ["c++", "-std=c++17", "-O2", "-D_GNU_SOURCE", *includes, *cuda]}[suffix]
        out = os.path.join(self.folder, source.replace("/", "_") + ".o")
        ended = self.run([*words, *flags, "-c", os.path.join(self.root, source), "-o", out])
        return (out if ended.returncode == 0 else None), ended.stdout + ended.stderr

    def link(self, name, objects):
        libraries = ["-ljansson"] if self.has_jansson() else []
        # --gc-sections: a function that nothing calls may need a source that does not compile here.
        ended = self.run([self.nvcc, "-Xlinker", "--gc-sections", "-o",
                          os.path.join(self.folder, name), *objects,
                          os.path.join(self.folder, "libweir.a"), *libraries, "-ldl", "-lpthread",
                          "-lrt", "-lm"])
        if ended.returncode != 0:
            raise BuildError(f"{name} cannot be linked:\n{ended.stderr[-3000:]}")

    def has_jansson(self):
        return subprocess.run(["cc", "-xc", "-", "-ljansson", "-o", "/dev/null"], text=True,
                              input="int main(void) { return 0; }", check=False,
                              capture_output=True).returncode == 0


def kernel_tests(root):
    """The names of the tests that run the kernels one by one, on a card as under the emulation."""
    return [os.path.basename(path)[len("test_"):-len(".cpp")]
            for path in relative(root, "tests/cuda/test_*.cpp")]


def relative(root, *patterns):
    return sorted(os.path.relpath(path, root) for pattern in patterns
                  for path in glob.glob(os.path.join(root, pattern)))


def build(root, folder, target, seconds=600.0):
    """The names of sources that did not compile, and so are not linked."""
    builder = Builder(root, folder, target, seconds)
    kernels = relative(root, "gpu_worker/kernels/*.cu")
    ours = [path for path in relative(root, "gpu_worker/*.c", "shm/*.c", "proto/*.c", "models/*.c")
            if os.path.basename(path) not in NOT_LINKED and "/cpu_" not in path
            and "/encoder_cpu" not in path]
    ours += ["tests/shm/own_path.c", "tests/gpu_worker/random_model.c"]
    checks = [f"tests/cuda/{name}.c" for name in
              ("gpu_check", "gpu_check_speed", "gpu_check_ring", "gpu_check_plain")]
    names = kernel_tests(root)
    tests = [f"tests/cuda/{name}.cpp" for name in
             ("fixture", "memory_card", *(f"test_{name}" for name in names))]
    reference = "tests/gpu_worker/reference_encoder.c"  # minutes of plain loops, so well compiled
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {path: pool.submit(builder.compile, path)
                for path in [*kernels, *ours, *checks, *tests, PLAIN_CALIBRATION]}
        jobs[reference] = pool.submit(builder.compile, reference, "-O3", "-march=native",
                                      "-ffast-math")
        done = {path: job.result() for path, job in jobs.items()}
    needed = kernels + checks + tests + [reference]
    for path in needed:
        if done[path][0] is None:
            raise BuildError(f"{path} does not compile:\n{done[path][1][-3000:]}")
    if done[CALIBRATION][0] is None:
        done[CALIBRATION] = done[PLAIN_CALIBRATION]
    library = os.path.join(folder, "libweir.a")
    if os.path.exists(library):
        os.unlink(library)
    subprocess.run(["ar", "rcs", library, *(done[path][0] for path in kernels + ours + [reference]
                                            if done[path][0])], check=True, capture_output=True)
    builder.link("gpu_check", [done[path][0] for path in checks])
    shared = [done[f"tests/cuda/{name}.cpp"][0] for name in ("fixture", "memory_card")]
    for name in names:
        builder.link(f"card_{name}", [done[f"tests/cuda/test_{name}.cpp"][0], *shared])
    return [path for path in ours if done[path][0] is None]


if __name__ == "__main__":  # gpu_check_build.py ROOT FOLDER TARGET
    print("left out:", build(*sys.argv[1:]))
