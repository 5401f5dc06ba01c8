#!/usr/bin/env python3
"""Runs the rules of rules.py over the whole tree, and the formatters and linters over their files.

    tests/style/test_style.py            exit 1 and one line for each complaint
"""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rules  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CLANG_FORMAT_MAJOR = 14  # Debian 12's; other versions lay out some lines differently


def paths():
    """Tracked files and those that could become so; without git, all but the build's."""
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if listing.returncode == 0:
        return sorted(set(listing.stdout.splitlines()))
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in {"build", ".git", "__pycache__"}]
        found += [os.path.relpath(os.path.join(folder, name), ROOT) for name in names]
    return sorted(found)


def read(path):
    """The file, or None for what is no text."""
    try:
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            return rules.File(path, file.read())
    except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
        return None


def data(file):
    """Generated tables and corpora are data: no rule of style applies."""
    return file.extension in {".inc", ".json", ".jsonl", ".tsv", ".txt"} and not file.is_cmake


def complaints(files):
    for rule in rules.FILE_RULES:
        found = [f"  {file.path}:{number}: {sentence}"
                 for file in files for number, sentence in rule(file)]
        yield from [rule.__doc__, *found] if found else []
    found = [f"  {path}: {sentence}" for path, sentence in rules.unbuilt(files)]
    yield from [rules.unbuilt.__doc__, *found] if found else []


def clang_format():
    """The name of the clang-format to use, or None."""
    for name in (f"clang-format-{CLANG_FORMAT_MAJOR}", "clang-format"):
        if shutil.which(name):
            version = subprocess.check_output([name, "--version"], text=True)
            if f"version {CLANG_FORMAT_MAJOR}." in version:
                return name
    return None


def run_tool(name, flags, files):
    """The output of a formatter or linter that does not accept all files, line by line."""
    if not name or not shutil.which(name):
        print(f"skipped: no {name or f'clang-format {CLANG_FORMAT_MAJOR}'} here", file=sys.stderr)
        return []
    done = subprocess.run([name, *flags, *files], cwd=ROOT, check=False, capture_output=True,
                          text=True)
    return (done.stdout + done.stderr).splitlines() if done.returncode else []


def badly_formatted(files):
    """A sentence for each file that clang-format would lay out otherwise."""
    lines = run_tool(clang_format(), ["--dry-run", "-Werror"], files)
    names = sorted({line.split(":")[0] for line in lines if "clang-format-violations" in line})
    return [f"{name}: not as clang-format -i leaves it" for name in names]


def main():
    files = [file for path in paths() if (file := read(path)) and not data(file)]
    c_files = [file.path for file in files if file.is_c]
    found = list(complaints(files))
    found += badly_formatted(c_files)
    found += run_tool("shellcheck", ["-x"], [file.path for file in files if file.is_bash])
    print("\n".join(found) if found else f"{len(files)} files: nothing to complain of")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
