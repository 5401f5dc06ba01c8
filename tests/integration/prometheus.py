"""Prometheus' text format 0.0.4, read strictly: what a scraper would forgive is an error here."""
import collections
import math
import re

Family = collections.namedtuple("Family", "name type help samples")  # samples: Sample to value
Sample = collections.namedtuple("Sample", "name labels")  # labels: sorted pairs

NAME = r"[a-z][a-z0-9_]*"
LINE = re.compile(rf'({NAME})(?:\{{(.*)\}})? (\S+)')
LABEL = re.compile(rf'({NAME})="((?:[^"\\\n]|\\[\\"n])*)"(,|$)')
TYPES = ("counter", "gauge", "histogram")
SUFFIXES = ("_bucket", "_sum", "_count")


def _labels(text):
    pairs, at = [], 0
    while at < len(text):
        match = LABEL.match(text, at)
        assert match, f"bad labels: {text}"
        value = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], match[2])
        pairs.append((match[1], value))
        at = match.end()
    assert not text.endswith(","), text
    assert len(dict(pairs)) == len(pairs), f"a label twice: {text}"
    return tuple(sorted(pairs))


def _check_histogram(family):
    """Buckets grow to +Inf, which is the count; each has its sum. By labels other than `le`."""
    by_labels = collections.defaultdict(list)
    for sample, value in family.samples.items():
        if sample.name == family.name + "_bucket":
            bound = dict(sample.labels)["le"]
            rest = tuple(pair for pair in sample.labels if pair[0] != "le")
            by_labels[rest].append((float(bound), value))
    assert by_labels, f"{family.name} has no bucket"
    for labels, buckets in by_labels.items():
        bounds, counts = zip(*buckets)
        assert list(bounds) == sorted(set(bounds)) and math.isinf(bounds[-1]), family.name
        assert list(counts) == sorted(counts), f"{family.name} is not cumulative: {counts}"
        assert family.samples[Sample(family.name + "_count", labels)] == counts[-1], family.name
        assert family.samples[Sample(family.name + "_sum", labels)] >= 0, family.name


def parse(text):
    """Families by name. AssertionError where the text is not as the format wants it: HELP and TYPE
    once and before a family's samples, families in one piece, no series twice."""
    families, family = {}, None
    assert text.endswith("\n")
    lines = iter(text[:-1].split("\n"))
    for line in lines:
        if line.startswith("#"):
            _, word, name, help_text = line.split(" ", 3)
            kind = next(lines).split(" ")
            assert (word, kind[:3]) == ("HELP", ["#", "TYPE", name]), line
            assert len(kind) == 4 and kind[3] in TYPES, kind
            assert re.fullmatch(NAME, name) and name not in families, f"{name} comes twice"
            family = families[name] = Family(name, kind[3], help_text, {})
            continue
        match = LINE.fullmatch(line)
        assert match and family, f"not a sample: {line}"
        sample = Sample(match[1], _labels(match[2] or ""))
        allowed = ([family.name + suffix for suffix in SUFFIXES] if family.type == "histogram"
                   else [family.name])
        assert sample.name in allowed, f"{sample.name} among those of {family.name}"
        assert sample not in family.samples, f"{line} comes twice"
        family.samples[sample] = float(match[3])
    for one in families.values():
        assert one.samples, f"{one.name} has no sample"
        if one.type == "histogram":
            _check_histogram(one)
        if one.type == "counter":
            assert all(value >= 0 for value in one.samples.values()), one.name
    return families
