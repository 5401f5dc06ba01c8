#!/usr/bin/env python3
"""Breaks shm/ on purpose, one mistake at a time, and expects a test to turn red each time.

    test_mutations.py SOURCE_DIR WORK_DIR [NAME ...]

A test that has never failed is not yet a test. Each mutant of mutants.txt is one changed source
file, linked with the sound rest into the tests named beside it, of which one must fail. A mutant
that does not apply any more fails this test too.
"""
import collections
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

LIBRARY = ["base", "file", "log", "layout", "doorbell", "segment", "process", "stats",
           "lane_producer", "lane_consumer", "lane_sleep"]
# test: (its sources beside the library, flags)
TESTS = {
    "simulation": (["own_path.c", "simulation.c", "test_lane_simulation.c"], ["-DWEIR_SHM_STEPS"]),
    "threads": (["own_path.c", "test_lane_threads.c"], ["-fsanitize=thread"]),
    "producer": (["own_path.c", "lane_pair.c", "test_lane_producer.c"], []),
    "consumer": (["own_path.c", "lane_pair.c", "test_lane_consumer.c"], []),
    "sleep": (["own_path.c", "lane_pair.c", "test_lane_sleep.c"], []),
    "segment": (["own_path.c", "test_segment.c"], []),
    "stats": (["own_path.c", "lane_pair.c", "test_stats.c"], []),
    "file": (["test_file.c"], []),
    "process": (["own_path.c", "lane_pair.c", "test_process.c"], []),
}
SECONDS_MAX = 60



@dataclass
class Mutant:
    name: str
    file: str = ""
    tests: list = field(default_factory=list)
    edits: list = field(default_factory=list)  # (old lines, new lines)


def read_mutants(path):
    """The blocks of mutants.txt, whose head says how they are written."""
    mutants = []
    for line in path.read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "=":
            mutants.append(Mutant(rest))
        elif kind == "in":
            file, _, tests = rest.partition(", red ")
            mutants[-1].file, mutants[-1].tests = file, tests.split()
        elif kind == "-":
            edits = mutants[-1].edits
            if not edits or edits[-1][1]:
                edits.append(([], []))
            edits[-1][0].append(rest)
        elif kind == "+":
            mutants[-1].edits[-1][1].append(rest)
        elif line and kind != "#":
            raise ValueError(f"{path}: what is {line!r}?")
    return mutants


def apply(mutant, text):
    """The text with the mistake in it, or a ValueError that says why not."""
    for old, new in mutant.edits:
        pattern = r"\s+".join(re.escape(word) for word in " ".join(old).split())
        found = len(re.findall(pattern, text))
        if found != 1:
            raise ValueError(f"{old[0]!r} is {found} times in {mutant.file}, not once: "
                             "the mutant must follow the code")
        text = re.sub(pattern, lambda _: "\n".join(new), text)
    return text


def compile_in(folder, source, flags, *files):
    """cc, with what it makes in `folder`."""
    compiled = subprocess.run(
        ["cc", "-std=gnu17", "-D_GNU_SOURCE", "-w", "-O1", "-pthread",
         f"-I{source}", *flags, *files], cwd=folder, capture_output=True, text=True)
    if compiled.returncode != 0:
        raise ValueError(f"this does not compile:\n{compiled.stderr}")


def compile_sound(source, work, test):
    """The objects of `test` and of the library without a mistake, in a folder of their own."""
    files, flags = TESTS[test]
    folder = work / "sound" / test
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    compile_in(folder, source, flags, "-c",
               *(str(source / "shm" / f"{name}.c") for name in LIBRARY),
               *(str(source / "tests" / "shm" / name) for name in files))
    return folder


def run(source, folder, changed, test):
    """Links `test` with the changed file of the library, in `folder`, and runs it: "red", as it
    should be, or "green"; "blind" when it is green and skipped something for want of privileges."""
    program = folder / test
    sound = folder.parent / "sound" / test
    objects = [str(file) for file in sound.glob("*.o") if file.stem != Path(changed).stem]
    compile_in(folder, source, TESTS[test][1], str(folder / changed), *objects, "-o",
               str(program))
    try:
        ended = subprocess.run([str(program)], cwd=folder, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True, timeout=SECONDS_MAX)
    except subprocess.TimeoutExpired:
        return "red"
    if ended.returncode != 0:
        return "red"
    return "blind" if "skipped:" in ended.stdout else "green"


def judge(source, work, mutant):
    """("caught", ""), ("not judged", why) or ("NOT CAUGHT", why)."""
    folder = work / re.sub(r"\W+", "_", mutant.name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        text = (source / "shm" / mutant.file).read_text()
        (folder / mutant.file).write_text(apply(mutant, text))
        colours = {test: run(source, folder, mutant.file, test) for test in mutant.tests}
    except ValueError as error:
        return "NOT CAUGHT", f": {error}"
    shutil.rmtree(folder)
    if "red" in colours.values():
        return "caught", ""
    blind = [test for test, colour in colours.items() if colour == "blind"]
    if blind:
        return "not judged", f": {', '.join(blind)} could not run whole here"
    return "NOT CAUGHT", f": no test turned red: {', '.join(mutant.tests)}"


def main():
    source, work = Path(sys.argv[1]), Path(sys.argv[2])
    mutants = [mutant for mutant in read_mutants(Path(__file__).with_name("mutants.txt"))
               if mutant.name in sys.argv[3:] or not sys.argv[3:]]
    work.mkdir(parents=True, exist_ok=True)
    counts = collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        tests = sorted({test for mutant in mutants for test in mutant.tests})
        list(pool.map(lambda test: compile_sound(source, work, test), tests))
        verdicts = pool.map(lambda mutant: judge(source, work, mutant), mutants)
        for mutant, (verdict, why) in zip(mutants, verdicts):
            print(f"{verdict}: {mutant.name}{why}", flush=True)
            counts[verdict] += 1
    print(f"{counts['caught']} of {len(mutants)} mutants caught, {counts['not judged']} not judged")
    return 1 if counts["NOT CAUGHT"] or not counts["caught"] else 0


if __name__ == "__main__":
    sys.exit(main())
