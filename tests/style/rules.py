"""The rules of style that a machine can judge, each a function from a file to its complaints.

A rule gets a File and yields (line number, sentence). What a rule is for stands in its docstring,
which test_style.py prints with the complaints. test_rules.py shows each rule a bad snippet.
"""
import ast
import os
import re
from dataclasses import dataclass

WIDTH_MAX = 100
FUNCTION_LINES_MAX = 70
SCRIPT_LINES_MAX = 250

GROUND = {"shm/base.h", "shm/file.h", "shm/log.h"}
# Floor by floor, what a folder may include beside itself and the ground (docs/architecture.md).
MAY_INCLUDE = {
    "shm": set(),
    "proto": set(),
    "models": set(),
    "frontend": {"shm", "proto", "models"},
    "gpu_worker": {"shm", "proto", "models"},
    "tests": {"shm", "proto", "models", "frontend", "gpu_worker", "tests"},
    "scripts": {"shm", "proto", "models", "frontend", "gpu_worker", "tests", "scripts"},
}
# Kernels see the seam and the model, nothing that knows of shared memory or requests.
CUDA_MAY_INCLUDE = {"gpu_worker/encoder.h", "models/model.h"}

BANNED_CALLS = {
    "gets": "fgets", "system": "posix_spawn", "popen": "posix_spawn", "alloca": "a sized array",
    "rand": "a seeded generator", "srand": "a seeded generator", "random": "a seeded generator",
}
# Tests write to buffers that they sized for the one string they know.
BANNED_OUTSIDE_TESTS = {
    "strcpy": "snprintf", "strcat": "snprintf", "sprintf": "snprintf", "vsprintf": "vsnprintf",
    "strtok": "strcspn", "atoi": "strtoul and its end", "atof": "strtod",
    "usleep": "a futex with a time-out", "setjmp": "plain returns", "longjmp": "plain returns",
}
TRAPPING_SCRIPTS = {"scripts/supervisor", "scripts/children.sh", "scripts/settings.sh",
                    "scripts/backoff.sh"}
# Spelled in pieces, or this file would complain of itself.
LEFTOVERS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|^\s*#\s*if\s+0\b|^(<{7}|>{7}) ")
MACHINE_PATHS = re.compile(r"(?<![\w.$}])/(work|root|home/\w+|Users|tmp/bash_jobs)(/|\b)")


@dataclass
class File:
    path: str  # from the root of the sources
    text: str

    @property
    def folder(self):
        return self.path.split("/")[0]

    @property
    def extension(self):
        return os.path.splitext(self.path)[1]

    @property
    def lines(self):
        return self.text.splitlines()

    @property
    def is_c(self):
        return self.extension in {".c", ".h", ".cc", ".cu", ".cuh"}

    @property
    def is_python(self):
        return self.extension == ".py" or re.match(r"#!.*python", self.text) is not None

    @property
    def is_bash(self):
        return self.extension == ".sh" or re.match(r"#!.*\bbash", self.text) is not None

    @property
    def is_code(self):
        return self.is_c or self.is_python or self.is_bash or self.is_cmake

    @property
    def is_cmake(self):
        return os.path.basename(self.path) == "CMakeLists.txt" or self.extension == ".cmake"

    @property
    def code_lines(self):
        """C lines with comments and the insides of strings blanked; as many as `lines`."""
        def blank(match):
            word = match.group()
            return re.sub(r"[^\n]", " ", word) if word[0] == "/" else word[0] + word[0]
        pattern = r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])'"
        return re.sub(pattern, blank, self.text, flags=re.DOTALL).splitlines()


def floors(file):
    """A folder includes only what its floor allows (docs/architecture.md, Floors)."""
    if not file.is_c or file.folder not in MAY_INCLUDE:
        return
    for number, line in enumerate(file.lines, 1):
        match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not match:
            continue
        target = match.group(1)
        folder = target.split("/")[0]
        if folder == "emulation" and (file.folder == "tests" or file.extension == ".cuh"):
            continue  # tests/cuda's stand-in for the card: on the path of its tests only
        is_kernel = file.extension in {".cu", ".cuh"} and file.folder == "gpu_worker"
        if "/" not in target or folder not in MAY_INCLUDE:
            yield number, f'"{target}": write the path from the root, as "shm/lane.h"'
        elif is_kernel and folder != "gpu_worker" and target not in CUDA_MAY_INCLUDE:
            yield number, f'"{target}": kernels see only {" and ".join(sorted(CUDA_MAY_INCLUDE))}'
        elif target not in GROUND and folder not in {file.folder, *MAY_INCLUDE[file.folder]}:
            yield number, f"{file.folder}/ may not include {folder}/"


def ground(file):
    """The ground, shm/base, shm/file and shm/log, includes nothing of ours but itself."""
    if os.path.splitext(file.path)[0] + ".h" not in GROUND:
        return
    for number, line in enumerate(file.lines, 1):
        match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if match and match.group(1) not in GROUND:
            yield number, f'the ground includes "{match.group(1)}"'


def width(file):
    """No line of code is wider than 100 columns, has a tab or ends in a blank."""
    if not file.is_code:
        return
    for number, line in enumerate(file.lines, 1):
        if len(line) > WIDTH_MAX:
            yield number, f"{len(line)} columns"
        if "\t" in line and not file.is_bash:
            yield number, "a tab"
        if line != line.rstrip():
            yield number, "blanks at the end"


def functions_of(file):
    """(first line, name, lines) of each function, by the layout that the formatters enforce."""
    if file.is_python:
        for node in ast.walk(ast.parse(file.text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield node.lineno, node.name, node.end_lineno - node.lineno + 1
        return
    start = None
    for number, line in enumerate(file.lines, 1):
        if file.is_c and line == "{" or file.is_bash and re.match(r"\w+\(\) \{", line):
            start = number
        elif line == "}" and start is not None:
            name = file.lines[start - 2] if file.is_c else line
            yield start, name.strip(), number - start + 1
            start = None


def function_length(file):
    """A function fits a screen: 70 lines at most."""
    if not (file.is_c or file.is_bash or file.is_python):
        return
    for number, name, length in functions_of(file):
        if length > FUNCTION_LINES_MAX:
            yield number, f"{length} lines: {name[:60]}"


def script_length(file):
    """A bash script has 250 lines at most: what is longer wants parts, or another language."""
    if file.is_bash and len(file.lines) > SCRIPT_LINES_MAX:
        yield SCRIPT_LINES_MAX + 1, f"{len(file.lines)} lines"


def banned_calls(file):
    """Calls that overflow, hide state or cannot fail cleanly are not used."""
    if not file.is_c:
        return
    banned = BANNED_CALLS | ({} if file.folder == "tests" else BANNED_OUTSIDE_TESTS)
    pattern = re.compile(r"(?<![\w.>])(?:std::)?(" + "|".join(banned) + r")\s*\(")
    for number, line in enumerate(file.code_lines, 1):
        for match in pattern.finditer(line):
            yield number, f"{match.group(1)}(): use {banned[match.group(1)]}"


def exits(file):
    """Nothing below main() ends the process: errors go up as return values."""
    has_main = re.search(r"^int main\(", file.text, re.MULTILINE)
    if not file.is_c or file.folder == "tests" or has_main:
        return
    for number, line in enumerate(file.code_lines, 1):
        if match := re.search(r"(?<![\w.>])(_?exit|quick_exit)\s*\(", line):
            yield number, f"{match.group(1)}() outside a file with main()"


def lost_traps(file):
    """The supervisor keeps off what loses a signal's trap in bash (scripts/children.sh)."""
    if file.path not in TRAPPING_SCRIPTS:
        return
    trapping = file.path != "scripts/supervisor"  # which sources the others when its traps are set
    for number, line in enumerate(file.lines, 1):
        trapping = trapping or line.startswith("trap ")
        code = re.sub(r"(^|\s)#.*", "", line)
        if trapping and (match := re.search(r"\b(continue|break)\b|[$<>]\((?!\()", code)):
            yield number, match.group()


def leftovers(file):
    """No unfinished marks, dead code or merge marks in the tree."""
    for number, line in enumerate(file.lines, 1):
        if match := LEFTOVERS.search(line):
            yield number, match.group().strip()


def machine_paths(file):
    """No path of one machine: the tree works wherever it lies."""
    for number, line in enumerate(file.lines, 1):
        if match := MACHINE_PATHS.search(line):
            yield number, match.group()


def introduction(file):
    """A file of code begins with what it is and why it is so."""
    if not file.is_code or not file.text.strip() or os.path.basename(file.path) == "__init__.py":
        return
    lines = [line for line in file.lines[:3] if not line.startswith(("#!", "# shellcheck"))]
    starts = ("/*", "//") if file.is_c else ("#", '"""', 'r"""')
    if not lines or not lines[0].startswith(starts):
        yield 1, "begins without a comment"


def header_guard(file):
    """A header is guarded by its path in capitals: WEIR_SHM_LANE_H."""
    if file.extension != ".h":
        return
    guard = "WEIR_" + re.sub(r"\W", "_", file.path).upper()
    if f"#ifndef {guard}\n#define {guard}\n" not in file.text and "#pragma once" not in file.text:
        yield 1, f"no guard {guard}"


FILE_RULES = [floors, ground, width, function_length, script_length, banned_calls, exits,
              lost_traps, leftovers, machine_paths, introduction, header_guard]


def unbuilt(files):
    """Every source file is named by a build rule: a test that is not built never fails."""
    build_rules = [file.text for file in files if file.is_cmake]
    for file in files:
        base = os.path.basename(file.path)
        is_test = file.folder == "tests" and re.fullmatch(r"test_.*\.py", base)
        if file.extension in {".c", ".cc", ".cu"} or is_test:
            if not any(_names(text, base) for text in build_rules):
                yield file.path, "no CMakeLists.txt names it"


def _names(text, base):
    """True where a rule has the file's name, or one like test_${name}.c and the word for it."""
    if re.search(rf"(?<![\w.-]){re.escape(base)}(?![\w.-])", text):
        return True
    for word in set(re.findall(r"[\w.-]*\$\{\w+\}[\w.-]*", text)):
        pattern = re.sub(r"\\\$\\\{\w+\\\}", r"([\\w-]+)", re.escape(word))
        if match := re.fullmatch(pattern, base):
            return all(re.search(rf"(?<![\w.-]){re.escape(part)}(?![\w.-])", text)
                       for part in match.groups())
    return False
