#!/usr/bin/env python3
"""Writes one CTestTestfile.cmake that runs the tests of several build folders.

    scripts/merge_tests.py OUTPUT release=build/release asan=build/asan:REGEX ...

So scripts/test has one run, in parallel, and one summary. A test keeps its command and properties;
its name gets the build's in front ("asan.test_lane"); those of the first build keep theirs. REGEX
chooses tests by name; without it all of a build's are taken.
"""
import json
import re
import subprocess
import sys


def quoted(text):
    """A CMake bracket argument: nothing inside is special."""
    return f"[==[{text}]==]"


def value_of(prop):
    value = prop["value"]
    if isinstance(value, list):
        return ";".join(str(entry) for entry in value)
    return {True: "TRUE", False: "FALSE"}.get(value, value) if isinstance(value, bool) else value


def lines_for(test, prefix):
    name = quoted(prefix + test["name"])
    yield f"add_test({name} {' '.join(quoted(word) for word in test['command'])})"
    for prop in test.get("properties", []):
        yield f"set_tests_properties({name} PROPERTIES {prop['name']} {quoted(value_of(prop))})"


def tests_of(folder):
    listing = subprocess.run(["ctest", "--test-dir", folder, "--show-only=json-v1"], check=True,
                             capture_output=True, text=True).stdout
    # A test without a command is a program that was not built.
    return [test for test in json.loads(listing)["tests"] if "command" in test]


def main():
    output, *builds = sys.argv[1:]
    lines = []
    for index, build in enumerate(builds):
        label, _, place = build.partition("=")
        folder, _, regex = place.partition(":")
        for test in tests_of(folder):
            if re.search(regex, test["name"]):
                lines += lines_for(test, f"{label}." if index else "")
    with open(output, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
