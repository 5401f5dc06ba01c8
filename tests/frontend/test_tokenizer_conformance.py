#!/usr/bin/env python3
"""Compares the tokenizer with the `tokenizers` package, token for token, on random nasty strings.

    test_tokenizer_conformance.py TOOL DATA_FOLDER [--strings N] [--seed S]

TOOL is tests/frontend/tokenizer_tool.c, DATA_FOLDER holds the four vocabularies. In turn: random
strings with each vocabulary (ids, truncation from both ends, pairs, counts, offsets), and the same
with random added tokens and normalizers that the package itself wrote to tokenizer.json. Status 77
(skipped) when the package or the data is missing.
"""

import argparse
import os
import random
import struct
import subprocess
import sys
import tempfile
import time

try:
    import tokenizers
    from tokenizers import (
        AddedToken,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )
except ImportError as missing:
    print(f"skipped: {missing} (scripts/make_venvs makes build/venv with it)")
    sys.exit(77)

VOCABULARIES = {  # name: whether it lowercases
    "bert-base-uncased": True,
    "bert-base-cased": False,
    "bert-base-multilingual-uncased": True,
    "bert-base-multilingual-cased": False,
}
NO_PAIR = 0xFFFFFFFF
BATCH = 2000
CONFIGURED_BATCH = 100  # strings for each random tokenizer.json
CAPPED_VERSIONS = (
    "0.23.1",
    "0.23.2",
)  # of the package: see frontend/tokenizer.h about whole counts
SHARE_OF_CONFIGURATIONS = 4  # one string in so many goes to random added tokens


# --- random strings ------------------------------------------------------------------------------

SPECIALS = [
    "[CLS]",
    "[SEP]",
    "[PAD]",
    "[UNK]",
    "[MASK]",
    "[cls]",
    "[SEP",
    "SEP]",
    "[[SEP]]",
    "[MASK]s",
    "##ing",
    "##",
]
CONTROLS = (
    "\x00\x01\t\n\x0b\x0c\r\x1c\x1f\x7f\x85\xa0\xad\u061c\u180e\u200b\u200c\u200d\u200e\u2028"
    "\u2029\u2060\ufeff\ufffd"
)
CONFUSING = (
    "\u0130\u0131\u1e9e\u00df\u01c5\u03a3\u03c2\u212a\u212b\u2126\u0344\u0340\u037e\u0387\u1fef"
    "\u2260\u226e\u0958\u09cb\u0b94\u0f73\u0f75\u0f81\u1e9b\u2329\u232a\uff76\uff9e\u30ac\u3099"
    "\u309a\u0e33\u0eb3\u20dd\u20e3\u0488\u166d\u1734\U000111c9\U00011938\U0001d15e\U0001d160"
    "\ua7cb\u1c89\u0890\u08e2\U0002b820\U0002b920\U0002f800\uf900\u3005\u3007\ufe0f\U000e0100"
    "\U000e0041"
)
ORDERED_MARKS = (
    "\u08d4\u1b44\u1dfb\u302e\ua953\ua9c0\U0001d165\U0001d16d\U0001e000\u0300\u0323\u0301\u05b0"
    "\u0e31\u094d"
)


def scalar(source, low, high):
    while True:
        c = source.randint(low, high)
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def some(source, choices, most):
    return "".join(source.choice(choices) for _ in range(source.randint(1, most)))


ASCII_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
ASCII_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
SCRIPTS = [
    (0xC0, 0x24F),
    (0x370, 0x3FF),
    (0x400, 0x52F),
    (0x590, 0x5FF),
    (0x600, 0x6FF),
    (0x900, 0x97F),
    (0x980, 0xDFF),
    (0xE00, 0xEFF),
    (0x1100, 0x11FF),
    (0x1E00, 0x1FFF),
    (0x3040, 0x30FF),
    (0xAC00, 0xD7A3),
]


def fragment(source, words):
    """One bit of text, from one of many distributions."""
    kind = source.randrange(17)
    if kind <= 3:
        return source.choice(words)
    if kind == 4:
        return source.choice(words).swapcase()
    if kind == 5:
        return some(source, ASCII_PUNCTUATION, 3)
    if kind == 6:
        return source.choice(SPECIALS)
    if kind == 7:
        return some(source, CONTROLS, 3)
    if kind == 8:
        return some(source, CONFUSING, 3)
    if kind == 9:
        return some(source, ASCII_LETTERS, 6) + some(source, ORDERED_MARKS, 4)
    if kind == 10:
        return "".join(scalar(source, 0x300, 0x36F) for _ in range(source.randint(1, 3)))
    if kind == 11:
        return "".join(scalar(source, 0x4E00, 0x9FFF) for _ in range(source.randint(1, 4)))
    if kind == 12:
        return "".join(scalar(source, *source.choice(SCRIPTS)) for _ in range(source.randint(1, 8)))
    if kind == 13:
        return "".join(
            scalar(source, 0x1F300, 0x1FAFF) + source.choice(["", "\u200d", "\ufe0f"])
            for _ in range(source.randint(1, 3))
        )
    if kind == 14:
        return scalar(source, 0, 0x10FFFF)
    if kind == 15:
        return scalar(source, 0, 0x2FFF)
    return some(source, ASCII_LETTERS, source.choice([5, 20, 40, 99, 100, 101, 102, 130]))


def random_text(source, words, extra):
    pieces = source.choice([1, 2, 3, 5, 8, 20, 60])
    separators = source.choice([[" "], ["", " "], [""], [" ", "  ", "\n", "", "\u3000", "\xa0"]])
    bits = []
    for _ in range(source.randrange(pieces + 1)):
        bits.append(
            source.choice(extra) if extra and source.random() < 0.3 else fragment(source, words)
        )
        bits.append(source.choice(separators))
    return "".join(bits)


# --- our side ------------------------------------------------------------------------------------


def request(what, text, pair=None, max_tokens=512):
    first = text.encode()
    record = what + struct.pack("<II", max_tokens, len(first)) + first
    if pair is None:
        return record + struct.pack("<I", NO_PAIR)
    second = pair.encode()
    return record + struct.pack("<I", len(second)) + second


def run_tool(tool, folder, requests):
    """The answers: (ids, type_start, truncated), or count, or [(id, start, stop, special)]."""
    rule = [] if tokenizers.__version__ in CAPPED_VERSIONS else ["--whole-counts"]
    done = subprocess.run(
        [tool, folder, *rule], input=b"".join(requests), stdout=subprocess.PIPE, check=True
    )
    answers, at, out = [], 0, done.stdout
    for record in requests:
        what = record[:1]
        if what == b"c":
            answers.append(struct.unpack_from("<Q", out, at)[0])
            at += 8
        elif what == b"x":
            count = struct.unpack_from("<I", out, at)[0]
            answers.append(
                [struct.unpack_from("<IIII", out, at + 4 + 16 * i) for i in range(count)]
            )
            at += 4 + 16 * count
        else:
            count, type_start, truncated = struct.unpack_from("<III", out, at)
            answers.append(
                (list(struct.unpack_from(f"<{count}I", out, at + 12)), type_start, truncated)
            )
            at += 12 + 4 * count
    assert at == len(out)
    return answers


# --- the package's side ---------------------------------------------------------------------------


def complain(what, folder, text, ours, theirs, **more):
    print(
        f"{what} differs in {folder}: {more}\n  text   {ascii(text)}\n"
        f"  ours   {ours}\n  theirs {theirs}"
    )
    sys.exit(1)


def byte_offsets(text, start, stop):
    return len(text[:start].encode()), len(text[:stop].encode())


def encode(tokenizer, text, pair=None):
    """The package's encoding, or None where it panics: added tokens that are white space and strip
    white space can make it cut pieces of negative size."""
    try:
        return tokenizer.encode(text, pair) if pair is not None else tokenizer.encode(text)
    except BaseException as panic:
        if type(panic).__name__ != "PanicException":
            raise
        return None


def check_encode(folder, tokenizer, cases, answers):
    """cases: (text, pair or None, max_length, direction); answers: ours to them."""
    for (text, pair, max_length, direction), (ids, type_start, truncated) in zip(cases, answers):
        tokenizer.enable_truncation(max_length, direction=direction)
        found = encode(tokenizer, text, pair)
        if found is None:
            continue
        types = [0] * type_start + [1] * (len(ids) - type_start)
        if (ids, types) != (found.ids, found.type_ids):
            complain(
                "encode",
                folder,
                text,
                ids,
                found.ids,
                pair=pair,
                max_length=max_length,
                direction=direction,
            )
        if bool(truncated) != bool(found.overflowing):
            complain(
                "truncated",
                folder,
                text,
                truncated,
                len(found.overflowing),
                pair=pair,
                max_length=max_length,
            )
    tokenizer.no_truncation()


def check_explain(folder, tokenizer, texts, answers, counts):
    for text, tokens, count in zip(texts, answers, counts):
        found = encode(tokenizer, text)
        if found is None:
            continue
        theirs = [
            (i, *byte_offsets(text, *offsets), special)
            for i, offsets, special in zip(found.ids, found.offsets, found.special_tokens_mask)
        ]
        if tokens != theirs:
            complain("explain", folder, text, tokens, theirs)
        if count != len(found.ids):
            complain("count", folder, text, count, len(found.ids))


def random_cases(source, words, extra, count):
    cases = []
    for i in range(count):
        text = random_text(source, words, extra)
        pair = random_text(source, words, extra) if source.random() < 0.3 else None
        max_length = 512 if source.random() < 0.4 else source.randint(3, 40)
        if source.random() < 0.02:  # long ones, so that 0.23's cap on each sequence matters
            text *= source.randint(1, 30)
            pair = pair and pair * source.randint(1, 30)
        cases.append((text, pair, max_length, "left" if source.random() < 0.3 else "right"))
    return cases


def check(tool, folder, tokenizer, source, words, extra, count):
    cases = random_cases(source, words, extra, count)
    texts = [text for text, _, _, _ in cases[: count // 4]]
    answers = run_tool(  # at once: it reads the folder anew each time
        tool,
        folder,
        [
            request(b"l" if direction == "left" else b"e", text, pair, max_length)
            for text, pair, max_length, direction in cases
        ]
        + [request(b"x", text) for text in texts]
        + [request(b"c", text) for text in texts],
    )
    check_encode(folder, tokenizer, cases, answers[:count])
    counts_at = count + len(texts)
    check_explain(folder, tokenizer, texts, answers[count:counts_at], answers[counts_at:])


# --- tokenizers to compare ------------------------------------------------------------------------


def read_vocabulary(data, name):
    with open(os.path.join(data, name + ".vocab.txt"), encoding="utf-8", newline="\n") as file:
        return [line.rstrip("\n") for line in file]


def bert_tokenizer(vocabulary, **options):
    ids = {token: i for i, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(**options)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    return tokenizer


def plain_folder(data, name, lowercase, folder):
    """A folder with vocab.txt, and the package's tokenizer for it."""
    with open(os.path.join(data, name + ".vocab.txt"), "rb") as file, open(
        os.path.join(folder, "vocab.txt"), "wb"
    ) as copy:
        copy.write(file.read())
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="ascii") as file:
        file.write(
            '{"do_lower_case": %s, "model_max_length": 1000000000000000019884624838656}'
            % str(lowercase).lower()
        )
    tokenizer = bert_tokenizer(read_vocabulary(data, name), lowercase=lowercase)
    tokenizer.add_special_tokens(["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"])
    return tokenizer


def random_added_tokens(source, words):
    tokens = {}
    for _ in range(source.randint(0, 12)):
        kind = source.randrange(6)
        content = [
            lambda: source.choice(words),
            lambda: "<" + source.choice(words) + ">",
            lambda: source.choice(words)[:2] or "a",
            lambda: source.choice(words) + " " + source.choice(words),
            lambda: fragment(source, words),
            lambda: source.choice(
                [
                    "é",
                    "É",
                    "中国",
                    "a b",
                    " x",
                    "x ",
                    "ẞ",
                    "İ",
                    "한",
                    "ab",
                    "abc",
                    "b",
                    "[",
                    "\u0301e",
                ]
            ),
        ][kind]()
        tokens[content] = AddedToken(
            content,
            single_word=source.random() < 0.3,
            lstrip=source.random() < 0.3,
            rstrip=source.random() < 0.3,
            normalized=source.random() < 0.5,
            special=source.random() < 0.5,
        )
    return list(tokens.values())


def patterns_are_sound(tokenizer, added):
    """Whether no added token is looked for as nothing, and no two as the same: on those the package
    panics or runs out of memory, and we refuse them."""
    patterns = [
        tokenizer.normalizer.normalize_str(token.content)
        for token in added
        if token.normalized and tokenizer.normalizer
    ]
    return "" not in patterns and len(set(patterns)) == len(patterns)


def configured_folder(vocabulary, source, words, folder):
    """The package's tokenizer for a random tokenizer.json in `folder`, and strings worth trying."""
    maybe = lambda: source.random() < 0.7
    tokenizer = bert_tokenizer(
        vocabulary,
        clean_text=maybe(),
        handle_chinese_chars=maybe(),
        strip_accents=source.choice([None, None, True, False]),
        lowercase=maybe(),
    )
    if source.random() < 0.05:
        tokenizer.normalizer = None
    elif source.random() < 0.1:
        tokenizer.normalizer = normalizers.Sequence([tokenizer.normalizer, normalizers.Lowercase()])
    added = random_added_tokens(source, words)
    while not patterns_are_sound(tokenizer, added):
        added.pop()
    path = os.path.join(folder, "tokenizer.json")
    specials = ["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"]
    tokenizer.add_special_tokens(source.sample(specials, source.randint(0, len(specials))))
    for i in range(0, len(added), 4):
        tokenizer.add_tokens(added[i : i + 4])
    tokenizer.save(path)
    return Tokenizer.from_file(path), [token.content for token in added]


def check_vocabulary(tool, data, name, source, strings):
    vocabulary = read_vocabulary(data, name)
    words = [token for token in vocabulary if not token.startswith(("##", "[unused"))]
    configured = strings // SHARE_OF_CONFIGURATIONS
    with tempfile.TemporaryDirectory(prefix="weir-tokenizer-") as folder:
        tokenizer = plain_folder(data, name, VOCABULARIES[name], folder)
        for done in range(0, strings - configured, BATCH):
            check(
                tool, folder, tokenizer, source, words, [], min(BATCH, strings - configured - done)
            )
    small = vocabulary[:4000] if "[CLS]" in vocabulary[:4000] else vocabulary
    small_words = [token for token in small if not token.startswith(("##", "[unused"))]
    while configured > 0:
        with tempfile.TemporaryDirectory(prefix="weir-tokenizer-") as folder:
            tokenizer, contents = configured_folder(small, source, small_words, folder)
            count = min(configured, CONFIGURED_BATCH)
            check(tool, folder, tokenizer, source, small_words, contents, count)
            configured -= count
    print(f"ok {name}: {strings} strings equal", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tool")
    parser.add_argument("data")
    parser.add_argument("--strings", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1000000007)
    arguments = parser.parse_args()
    if not os.path.isdir(arguments.data):
        print(f"skipped: no folder {arguments.data}")
        sys.exit(77)
    print(f"seed {arguments.seed}, tokenizers {tokenizers.__version__}", flush=True)
    for name in VOCABULARIES:
        check_vocabulary(
            arguments.tool,
            arguments.data,
            name,
            random.Random(f"{arguments.seed} {name}"),
            arguments.strings // len(VOCABULARIES),
        )


main()
