#!/usr/bin/env python3
"""Holds ptxas' report (-Xptxas -v) against a budget, so that a change which makes a kernel spill or
grow shows up without a GPU.

    ptxas_budget.py BUDGET REPORT...          check; exit 1 with a sentence for each breach
    ptxas_budget.py --write BUDGET REPORT...  write the budget from what is there, with some room

A budget line: kernel, registers at most, bytes of static shared memory at most. A kernel's name is
its namespace, function and template argument: float16::attention_kernel<64>. No kernel may spill or
use a stack frame; a kernel without a budget line is a breach, and so is a line without a kernel.
"""
import re
import sys

ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(sm_\w+)'")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")
SPILL = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS_ROOM = 8  # compilers and targets differ by a few


def demangle(name):
    """_ZN7float1616attention_kernelILi64EEEv... -> float16::attention_kernel<64>"""
    rest, words = name.removeprefix("_ZN"), []
    while match := re.match(r"(\d+)", rest):
        # "7float1616attention_kernel": a length, then that many characters
        length = int(match.group(1))
        start = match.end()
        words.append(rest[start : start + length])
        rest = rest[start + length :]
    argument = re.match(r"ILi(\d+)E", rest)
    return "::".join(words) + (f"<{argument.group(1)}>" if argument else "")


def read_reports(paths):
    """{(kernel, target): {registers, shared, spills}}"""
    kernels, current = {}, None
    for path in paths:
        for line in open(path, encoding="utf-8"):
            if match := ENTRY.search(line):
                key = (demangle(match.group(1)), match.group(2))
                current = kernels.setdefault(key, {"registers": 0, "shared": 0, "spills": 0})
            elif current is not None and (match := SPILL.search(line)):
                current["spills"] = sum(int(group) for group in match.groups())
            elif current is not None and (match := USED.search(line)):
                shared = SHARED.search(line)
                current["registers"] = int(match.group(1))
                current["shared"] = int(shared.group(1)) if shared else 0
    return kernels


def read_budget(path):
    budget = {}
    for line in open(path, encoding="utf-8"):
        words = line.split("#")[0].split()
        if words:
            budget[words[0]] = (int(words[1]), int(words[2]))
    return budget


def write_budget(path, kernels):
    worst = {}
    for (kernel, _), used in kernels.items():
        registers, shared = worst.get(kernel, (0, 0))
        worst[kernel] = (max(registers, used["registers"]), max(shared, used["shared"]))
    with open(path, "w", encoding="utf-8") as file:
        file.write("# kernel, registers at most, bytes of static shared memory at most\n")
        for kernel, (registers, shared) in sorted(worst.items()):
            file.write(f"{kernel:48} {registers + REGISTERS_ROOM:4} {shared:6}\n")


def breaches(kernels, budget):
    for (kernel, target), used in sorted(kernels.items()):
        if used["spills"] > 0:
            yield f"{kernel} for {target}: {used['spills']} bytes of stack and spills"
        if kernel not in budget:
            yield f"{kernel} for {target}: has no line in the budget; add one"
            continue
        registers, shared = budget[kernel]
        if used["registers"] > registers:
            yield f"{kernel} for {target}: {used['registers']} registers, the budget is {registers}"
        if used["shared"] > shared:
            yield f"{kernel} for {target}: {used['shared']} bytes shared, the budget is {shared}"
    for kernel in sorted(set(budget) - {name for name, _ in kernels}):
        yield f"{kernel}: in the budget, but no report names it"


def main():
    arguments = sys.argv[1:]
    write = arguments[:1] == ["--write"]
    budget_path, *reports = arguments[write:]
    kernels = read_reports(reports)
    if not kernels:
        sys.exit("no kernel in the reports: was -Xptxas -v given?")
    if write:
        return write_budget(budget_path, kernels)
    found = list(breaches(kernels, read_budget(budget_path)))
    print("\n".join(found))
    targets = sorted({target for _, target in kernels})
    print(f"{len(kernels)} kernels for {', '.join(targets)}: {len(found)} breaches")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
