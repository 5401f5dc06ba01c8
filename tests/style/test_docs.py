#!/usr/bin/env python3
"""The pages of docs/ agree with the code: counters, flags, links, and the files they name.

    tests/style/test_docs.py             exit 1 and a line for each thing that is missing
    tests/style/test_docs.py --write     makes docs/metrics.md anew from the tables in the code
"""
import glob
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = "frontend|gpu_worker|shm|proto|models|scripts|tests|docs"

METRICS_HEAD = """# Metrics

Made by `tests/style/test_docs.py --write` from the tables in shm/stats.h, shm/start.h and
frontend/metrics.h. Tests compare it with them, and with what a running server prints.

`GET /metrics` answers in Prometheus' text format. Counters live in the shared-memory segment, one
block for each process, so they outlive a crash; any frontend answers for all of them. Every series
is there from the first scrape. After a reload (SIGHUP) counters begin at 0, as after any restart:
`rate()` and `increase()` know how to read that.

`weir_requests_total` equals the sum of `weir_responses_total` when nothing is in flight; a scrape
is in flight itself. `lost` are requests of a frontend that died, once its successor has counted
them. An answer's texts, batch and times are counted before it is sent.
"""

GAUGES_HEAD = """## Gauges

What is true at the moment of the scrape. `process` is `worker` or `frontend N`, `lane` the N of its
frontend.
"""

PHASES_HEAD = """## Phases of the worker's start

Values of `phase` in `weir_start_phase_seconds`, of the worker that is now in charge. They follow
one another, but for `graphs`, so the sum of the others is `weir_start_seconds`.
"""


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def table(text, name):
    """The argument lists of the X-macro `name`: tuples of identifiers and joined strings."""
    body = re.search(rf"#define {name}\(\w+(?:, \w+)*\)((?:.*\\\n)*.*)", text).group(1)
    body = body.replace("\\\n", " ")
    for call in re.findall(r"[A-Z]\(((?:[^()\"]|\"(?:\\.|[^\"\\])*\")*)\)", body):
        parts = re.findall(r"(?:\"(?:\\.|[^\"\\])*\"\s*)+|[^,\s\"][^,\"]*", call)
        yield tuple("".join(re.findall(r"\"((?:\\.|[^\"\\])*)\"", part)).replace('\\"', '"')
                    if '"' in part else part.strip() for part in parts)


def metrics_page():
    stats = read("shm/stats.h")
    lines = [METRICS_HEAD, "## Counters", "", "| series | what it counts |", "|---|---|"]
    for _, family, labels, sentence in table(stats, "STATS_COUNTERS"):
        series = f"{family}{{{labels}}}" if labels else family
        lines.append(f"| `{series}` | {sentence} |")
    lines += ["", "## Histograms", "", "| family | unit | what it measures |", "|---|---|---|"]
    for _, family, unit, sentence in table(stats, "STATS_HISTOGRAMS"):
        lines.append(f"| `{family}` | {unit} | {sentence} |")
    lines += ["", GAUGES_HEAD, "| family | labels | what it says |", "|---|---|---|"]
    for _, family, labels, sentence in table(read("frontend/metrics.h"), "METRICS_GAUGES"):
        lines.append(f"| `{family}` | {labels} | {sentence} |")
    lines += ["", PHASES_HEAD, "| phase | what the time goes into |", "|---|---|"]
    for _, phase, sentence in table(read("shm/start.h"), "START_PHASES"):
        lines.append(f"| `{phase}` | {sentence} |")
    return "\n".join(lines) + "\n"


def missing_flags():
    page = read("docs/flags.md")
    for flag, environment in re.findall(r'\(\w+, "([a-z0-9-]+)",\s+"([A-Z0-9_]+)"',
                                        read("proto/settings.h").replace("\\\n", " ")):
        for word in (f"--{flag}", environment):
            if word not in page:
                yield f"docs/flags.md does not tell of {word}"


def pages():
    return ["README.md"] + sorted(os.path.relpath(page, ROOT)
                                  for page in glob.glob(os.path.join(ROOT, "docs/*.md")))


def broken_links():
    for page in pages():
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", read(page)):
            target = os.path.join(ROOT, os.path.dirname(page), link)
            if not re.match(r"\w+:", link) and not os.path.exists(target):
                yield f"{page}: the link to {link} leads nowhere"


def missing_files():
    for page in pages():
        for path in re.findall(rf"(?<![\w/.<-])((?:{FOLDERS})/[\w./-]*\w)", read(page)):
            if not glob.glob(os.path.join(ROOT, path) + "*") and "tiny-sst2" not in path:
                yield f"{page}: there is no {path}"


def main():
    if sys.argv[1:] == ["--write"]:
        with open(os.path.join(ROOT, "docs/metrics.md"), "w", encoding="utf-8") as file:
            file.write(metrics_page())
        return 0
    found = [*missing_flags(), *broken_links(), *missing_files()]
    path = os.path.join(ROOT, "docs/metrics.md")
    if not os.path.exists(path) or read("docs/metrics.md") != metrics_page():
        found.append("docs/metrics.md is not what tests/style/test_docs.py --write makes")
    print("\n".join(found) if found else f"{len(pages())} pages agree with the code")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
