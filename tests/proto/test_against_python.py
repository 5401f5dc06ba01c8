#!/usr/bin/env python3
"""proto/ against Python's own words: repr, the msgpack package, numpy, openapi-spec-validator.

    test_against_python.py PROTO_PROBE SOURCE_FOLDER

Runs again under build/venv where that is there (scripts/make_venvs); a package that is missing is
named, and only the checks that need it are left out.
"""

import importlib.util
import json
import os
import random
import struct
import sys

from probe import Probe, as_json

SEED = 7
FLOATS = 200_000


def has(package):
    if importlib.util.find_spec(package) is not None:
        return True
    print(f"skipped: what needs the Python package {package}")
    return False


def scores_and_other_floats(rng):
    bits = [0, 0x80000000, 1, 0x7F7FFFFF, 0xFF7FFFFF, 0x00800000, 0x3F800000, 0x3F7FFFFF]
    bits += [struct.unpack("<I", struct.pack("<f", 10.0**e))[0] for e in range(-44, 39)]
    while len(bits) < FLOATS:
        # Half anywhere, half between 0 and 1, where scores are.
        word = rng.getrandbits(32) if len(bits) % 2 else rng.randrange(0x3F800000)
        if word & 0x7F800000 != 0x7F800000:
            bits.append(word)
    return bits


def check_numbers_print_as_pythons(probe):
    bits = scores_and_other_floats(random.Random(SEED))
    answers = probe.ask_many([f"repr {word:08x}" for word in bits])
    for word, answer in zip(bits, answers):
        value = struct.unpack("<f", struct.pack("<I", word))[0]
        assert answer == repr(value), f"{word:08x}: {answer}, Python has {value!r}"
    print(f"ok {len(bits)} floats print as Python prints them")


BODIES = [
    {"text": "a"},
    {"text": ""},
    {"text": "é€😀\0\n\""},
    {"text": ["a"] * 20, "top_k": None},
    {"text": ["x" * n for n in (0, 31, 32, 255, 256, 65535, 65536)], "top_k": 2},
    {"text": "a", "text_pair": "b", "function_to_apply": "sigmoid", "truncate": True},
    {"text": "a", "top_k": 70000},
    {"text": "a", "top_k": 2**62},
    {"text": {"text": "a", "text_pair": None}},
    {"inputs": [["a"], ["a", "b"]], "raw_scores": True, "truncation_direction": "left"},
    {"inputs": ["a", "b"], "parameters": {"top_k": 1}, "options": {"use_cache": False}},
    {"instances": ["a", {"content": "b"}], "parameters": {"truncate": False}},
    # Refused, with the same sentence whatever the encoding.
    {},
    [],
    "a",
    7,
    -1.5,
    None,
    {"text": 1},
    {"text": []},
    {"text": ["a", 2.5]},
    {"text": "a", "top_k": 0},
    {"text": "a", "top_k": -70000},
    {"text": "a", "top_k": 2**64 - 1},
    {"text": "a", "inputs": "b"},
    {"text": "a", "topk": 1},
    {"text": ["a"] * 1025},
    {"text": [[[]]]},
    {"inputs": ["a", "b", "c"]},
    {"instances": [{"text": "a", "inputs": "b"}]},
]


def check_both_encodings_mean_the_same(probe):
    import msgpack

    n_taken = 0
    for body in BODIES:
        answer = probe.parse("j", as_json(body))
        n_taken += answer.startswith("ok")
        for options in ({}, {"use_bin_type": False}, {"use_single_float": True}):
            packed = probe.parse("m", msgpack.packb(body, **options))
            assert packed == answer, f"{body!r:.200}: {packed} beside {answer}"
    assert n_taken == 12, f"{n_taken} bodies were taken"
    print(f"ok {len(BODIES)} bodies mean the same in JSON and MessagePack")


def check_what_only_msgpack_can_say_is_refused(probe):
    import msgpack

    for body, sentence in [
        (msgpack.packb({"text": b"a"}), "pack it as str, not as bin"),
        (msgpack.packb({b"text": "a"}), "a field's name is not a string"),
        (msgpack.packb({1: "a"}), "a field's name is not a string"),
        (msgpack.packb({"text": msgpack.ExtType(1, b"a")}), "an extension type"),
        (msgpack.packb({"text": msgpack.Timestamp(1)}), "an extension type"),
        (msgpack.packb({"text": "a"}) * 2, "ends at byte 8, but the body has 16"),
        (b"\x81\xa4text\xa1\xff", '"text" is not UTF-8'),
    ]:
        answer = probe.parse("m", body)
        assert answer.startswith("no ") and sentence in answer, f"{body!r}: {answer}"
    print("ok what only MessagePack can say is refused")


def check_both_encodings_answer_the_same(probe):
    import msgpack

    labels, logits = ["LABEL_0", "LABEL_é", "C"], [[0.1, -2.5, 3.25], [1e-5, 4, -4]]
    for body in [
        {"text": ["a", "b"]},
        {"text": ["a", "b"], "top_k": 2},
        {"inputs": [["a"], ["b"]]},
        {"instances": ["a", "b"], "parameters": {"top_k": None}},
        {"text": "a", "function_to_apply": "none"},
    ]:
        plain = probe.answer("jj", "s", labels, logits, as_json(body))
        packed = probe.answer("mm", "s", labels, logits, msgpack.packb(body))
        mixed = probe.answer("jm", "s", labels, logits, as_json(body))
        assert as_json(json.loads(plain)) == plain, plain
        assert packed == mixed and msgpack.unpackb(packed) == json.loads(plain)
    print("ok answers say the same in JSON and MessagePack")


def all_scores(probe, labels, rows, problem):
    body = as_json({"text": [""] * len(rows), "top_k": None})
    answer = json.loads(probe.answer("jj", problem, labels, rows, body))["prediction"]
    return [
        [by_label[label] for label in labels]
        for by_label in ({p["label"]: p["score"] for p in row} for row in answer)
    ]


def check_scores_are_numpys(probe):
    """numpy's exp has an error of up to 2.5 ulp and differs between machines; ours has 0.5. So the
    scores agree to a few ulp and are mostly equal."""
    import numpy

    rng = numpy.random.default_rng(SEED)
    equal = total = 0
    for n_labels in (2, 3, 7, 8, 28, 129, 300):
        labels = [f"L{i}" for i in range(n_labels)]
        logits = (rng.standard_normal((200, n_labels)) * 3).astype(numpy.float32)
        shifted = numpy.exp(logits - logits.max(axis=-1, keepdims=True))
        softmax = shifted / shifted.sum(axis=-1, keepdims=True)
        sigmoid = 1.0 / (1.0 + numpy.exp(-logits))
        for problem, expected in (("s", softmax), ("m", sigmoid)):
            ours = all_scores(probe, labels, logits.tolist(), problem)
            scores = numpy.array(ours, numpy.float32)
            numpy.testing.assert_allclose(scores, expected, rtol=1e-6)
            equal += int((scores == expected).sum())
            total += scores.size
    print(f"ok scores are numpy's to 1e-6; {100 * equal / total:.1f} % to the last bit")


def check_openapi(source_folder):
    from openapi_spec_validator import validate

    with open(os.path.join(source_folder, "docs", "openapi.json"), encoding="utf-8") as file:
        validate(json.load(file))
    print("ok docs/openapi.json is OpenAPI 3.1")


def main():
    program, source_folder = sys.argv[1:3]
    venv = os.path.join(source_folder, "build", "venv", "bin", "python")
    if os.access(venv, os.X_OK) and os.environ.get("WEIR_IN_VENV") is None:
        os.environ["WEIR_IN_VENV"] = "1"
        os.execv(venv, [venv] + sys.argv)
    probe = Probe(program)
    check_numbers_print_as_pythons(probe)
    if has("msgpack"):
        check_both_encodings_mean_the_same(probe)
        check_what_only_msgpack_can_say_is_refused(probe)
        check_both_encodings_answer_the_same(probe)
    if has("numpy"):
        check_scores_are_numpys(probe)
    if has("openapi_spec_validator"):
        check_openapi(source_folder)
    probe.close()


main()
