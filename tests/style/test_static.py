#!/usr/bin/env python3
"""clang-tidy and cppcheck over every C and C++ file that the build compiles.

    tests/style/test_static.py BUILD_FOLDER

A file that passed is remembered under BUILD_FOLDER/static by the hash of all it may depend on
(itself, its headers, the flags, this file), so a second run looks at what changed only.
"""
import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Real faults only; layout is clang-format's and the rules' business. Each name with a minus
# complained of code that is right, and of none that was wrong.
TIDY_CHECKS = [
    "-*", "bugprone-*", "-bugprone-easily-swappable-parameters", "-bugprone-branch-clone",
    "-bugprone-reserved-identifier", "-bugprone-narrowing-conversions", "-bugprone-signal-handler",
    "-bugprone-implicit-widening-of-multiplication-result", "-bugprone-macro-parentheses",
    "-bugprone-assignment-in-if-condition", "-bugprone-suspicious-include",
    "-bugprone-not-null-terminated-result", "-bugprone-sizeof-expression",
    "-bugprone-suspicious-string-compare", "-bugprone-suspicious-memory-comparison",
    "-bugprone-too-small-loop-variable", "-bugprone-integer-division",
]
# Takes three times as long as all others: for what ships, not for its tests. What it says of values
# set through pointers is wrong too often: gcc's warnings, ASan and the fault loops watch those.
TIDY_ANALYZER = [
    "cert-err*", "cert-flp*", "cert-mem*", "-cert-err33-c", "-cert-err34-c", "performance-*",
    "-performance-no-int-to-ptr", "clang-analyzer-*", "-clang-analyzer-security.insecureAPI.*",
    "-clang-analyzer-optin.*", "-clang-analyzer-valist.*", "-clang-analyzer-core.CallAndMessage",
    "-clang-analyzer-core.uninitialized.*", "-clang-analyzer-core.UndefinedBinaryOperatorResult",
    "-clang-analyzer-core.NullDereference", "-clang-analyzer-core.DivideZero",
]
# The same code for another element type: the analyser looks at it once, for float16.
TWINS = {"gpu_worker/kernels/kernels_bfloat16.cu", "gpu_worker/kernels/kernels_float32.cu"}
# The analyser's paths through one function; its default, 225000, takes twice as long over all files
# and finds nothing more in ours.
TIDY_PATHS = [f"--extra-arg={word}" for word in
              ("-Xclang", "-analyzer-config", "-Xclang", "max-nodes=50000")]
# 2.10 takes mmap's -1, an enum's %u and buffers filled by a callee for faults.
CPPCHECK = ["cppcheck", "--enable=warning,performance", "--inline-suppr", "--quiet",
            "--error-exitcode=1", "--std=c17", "--library=posix", "--suppress=unknownMacro",
            "--suppress=invalidFunctionArg", "--suppress=invalidPrintfArgType_uint",
            "--suppress=uninitvar", "--suppress=memleak"]
# clang 14 lacks a type that gcc 12 has.
BEYOND_TIDY = "_Float16 is not supported on this target"


def digest(*parts):
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def with_headers(path, seen):
    """The bytes of a source file and of every header of ours below it."""
    if path in seen or not os.path.exists(path):
        return b""
    seen.add(path)
    text = read(path)
    names = re.findall(rb'^\s*#\s*include\s+"([^"]+)"', text, re.MULTILINE)
    return text + b"".join(with_headers(os.path.join(ROOT, name.decode()), seen) for name in names)


def entries(build):
    """One compile command for each source file of ours."""
    commands = json.loads(read(os.path.join(build, "compile_commands.json")))
    ours = {entry["file"]: entry for entry in commands
            if entry["file"].startswith(ROOT + "/") and "/build/" not in entry["file"]}
    return sorted(ours.values(), key=lambda entry: entry["file"])


def find_tidy():
    return next((name for name in ("clang-tidy-14", "clang-tidy") if shutil.which(name)), None)


def run(command):
    """What a tool says of a file that it does not accept; nothing else."""
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    said = done.stdout + done.stderr
    return said if done.returncode != 0 and BEYOND_TIDY not in said else ""


def check(build, tidy, entry):
    """The complaints about one file; empty when it is fine."""
    path, said = os.path.relpath(entry["file"], ROOT), ""
    if tidy:
        is_analysed = not path.startswith("tests/") and path not in TWINS
        checks = TIDY_CHECKS + (TIDY_ANALYZER if is_analysed else [])
        said += run([tidy, "-p", build, "--quiet", f"--checks={','.join(checks)}",
                     *TIDY_PATHS, "--warnings-as-errors=*", path])
    if path.endswith(".c") and not path.startswith("tests/") and shutil.which("cppcheck"):
        said += run([*CPPCHECK, "-I", ROOT, path])
    return said


def main():
    build, tidy, failed = os.path.abspath(sys.argv[1]), find_tidy(), 0
    folder = os.path.join(build, "static")
    os.makedirs(folder, exist_ok=True)
    rules = read(os.path.abspath(__file__))

    def work(entry):
        stamp = os.path.join(folder, digest(rules, with_headers(entry["file"], set()),
                                            entry["command"].encode()))
        if os.path.exists(stamp):
            return ""
        said = check(build, tidy, entry)
        if not said:
            with open(stamp, "w", encoding="ascii"):
                pass
        return said

    todo = entries(build)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for said in pool.map(work, todo):
            failed += bool(said)
            print(said, end="")
    print(f"{len(todo)} files, {failed} with complaints")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
