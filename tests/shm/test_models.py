#!/usr/bin/env python3
"""Lets spin search the Promela models: the protocol holds, each switched-on mistake is found.

    test_models.py MODEL        MODEL: doorbell or slot

Exit 77: spin is not installed (Debian: apt-get install spin). WEIR_MODELS_LONG=1 adds searches that
take minutes. Every search is exhaustive within its bounds: a good one that is cut short fails.
"""
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MEMORY_MB = 3500
SECONDS_MAX = 400
EXIT_SKIPPED = 77

GOOD = {
    "doorbell": ["", "EARLY_COUNT=1", "DEATHS=1", "DEATHS=1 EARLY_COUNT=1"],
    "slot": [
        "WORKER_DEATHS=1 CANCELS=1 LATE=1",
        "WORKER_DEATHS=1 FRONTEND_DEATHS=1",
        "WORKER_DEATHS=2",
        "WORKER_DEATHS=0 FRONTEND_DEATHS=2 CANCELS=1",
    ],
}
GOOD_LONG = {
    "doorbell": [],
    "slot": ["WORKER_DEATHS=1 FRONTEND_DEATHS=1 CANCELS=1", "WORKER_DEATHS=2 CANCELS=1 LATE=1"],
}
# Switches of mistakes, and what spin must find.
BAD = {
    "doorbell": {
        "FENCE=0": "invalid end state",
        "LOOK_FIRST=1": "invalid end state",
        "COUNT_LATE=1": "invalid end state",
        "NO_COUNT=1": "invalid end state",
        "DEATHS=1 NO_TIMEOUT=1": "invalid end state",
    },
    "slot": {
        "BUG=1": "invalid end state",
        "BUG=2": "invalid end state",
        "BUG=3": "invalid end state",
        "BUG=4 FRONTEND_DEATHS=1 WORKER_DEATHS=0": "assertion violated",
        "BUG=5 CANCELS=1 WORKER_DEATHS=0": "assertion violated",
        "BUG=6 CANCELS=1 WORKER_DEATHS=0": "assertion violated",
        "BUG=7 CANCELS=1 WORKER_DEATHS=0 LATE=1": "assertion violated",
        "BUG=8": "assertion violated",
        "BUG=9": "invalid end state",
    },
}


def search(model, switches, optimize):
    """What pan says of the model with these switches."""
    with tempfile.TemporaryDirectory() as folder:
        defines = [f"-D{switch}" for switch in switches.split()]
        subprocess.run(["spin", *defines, "-a", str(model)], cwd=folder, check=True,
                       capture_output=True)
        subprocess.run(["cc", optimize, "-w", "-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MB}",
                        "-o", "pan", "pan.c"], cwd=folder, check=True, capture_output=True)
        return subprocess.run(["./pan", "-m100000"], cwd=folder, capture_output=True, text=True,
                              timeout=SECONDS_MAX).stdout


def fault_of(model, switches, expected):
    """(None or what is wrong, states searched)."""
    try:
        # Most time goes into compiling; a mistake is found after few states.
        said = search(model, switches, "-O0" if expected else "-O1")
    except subprocess.TimeoutExpired:
        return f"not finished after {SECONDS_MAX} s", 0
    except subprocess.CalledProcessError as error:
        return f"{error}\n{error.stdout}{error.stderr}", 0
    states = int(match.group(1)) if (match := re.search(r"(\d+) states, stored", said)) else 0
    found = re.search(r"pan:1: (.*) \(at depth", said)
    complete = "errors: 0" in said and "Search not completed" not in said
    if expected:
        is_right = found is not None and expected in found.group(1)
    else:
        is_right = complete and found is None and "max search depth too small" not in said
    return None if is_right else f"expected {expected or 'no error'}:\n{said}", states


def main():
    if not shutil.which("spin"):
        print("skipped: spin is not installed (apt-get install spin)")
        return EXIT_SKIPPED
    name = sys.argv[1]
    model = Path(__file__).with_name(f"{name}.pml")
    cases = [(switches, None) for switches in GOOD[name]] + list(BAD[name].items())
    if os.environ.get("WEIR_MODELS_LONG"):
        cases += [(switches, None) for switches in GOOD_LONG[name]]
    failures = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for (switches, expected), (fault, states) in zip(
                cases, pool.map(lambda case: fault_of(model, *case), cases)):
            verdict = "FAILED" if fault else "ok"
            print(f"{verdict} {name} {switches or '(as it is)'}: {expected or 'no error'}, "
                  f"{states} states", flush=True)
            if fault:
                print(fault)
                failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
