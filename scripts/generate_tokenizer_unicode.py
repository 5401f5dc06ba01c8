#!/usr/bin/env python3
"""Writes frontend/tokenizer_unicode_tables.inc: what `tokenizers` knows about code points.

The reference mixes Unicode versions (categories of 8.0, decompositions of 9.0, lowercase and white
space of Rust's std), so no library agrees with it. This program asks the package itself about all
1,112,064 scalar values and writes sorted ranges. The tables are complete where Unicode changes over
time (categories, lowercase); where its stability policy freezes the answer once a code point is
assigned (canonical decomposition, combining class) they hold only the set of code points for which
utf8proc may be asked. So the result does not depend on the version of utf8proc.

    generate_tokenizer_unicode.py [--check] FILE

--check compares instead of writing: status 1 when the file differs, 77 when the package is missing.
"""

import json
import sys
import unicodedata

try:
    from tokenizers import Tokenizer, normalizers, pre_tokenizers
except ImportError as missing:
    print(f"skipped: {missing}; pip install 'tokenizers==0.23.*'")
    sys.exit(77)

SCALARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
SEPARATOR = "|"  # survives every normalizer, has combining class 0
OVERLAY = "\u0334"  # combining class 1: everything with a greater one moves behind it


def bert(clean=False, chinese=False, strip=False, lower=False):
    return normalizers.BertNormalizer(clean, chinese, strip, lower)


def normalize_each(normalizer, texts):
    """The normalized form of each text, all in one call; none of the texts holds SEPARATOR."""
    return normalizer.normalize_str(SEPARATOR.join(texts)).split(SEPARATOR)


def ask_each(normalizer, template="{}"):
    """{code point: normalized form of template}, leaving out SEPARATOR, which nothing changes."""
    scalars = [c for c in SCALARS if chr(c) != SEPARATOR]
    answers = normalize_each(normalizer, [template.format(chr(c)) for c in scalars])
    assert len(answers) == len(scalars)
    return dict(zip(scalars, answers))


def splits():
    """(isolated, white space): how BertPreTokenizer treats each code point between two letters."""
    isolated, white_space = set(), set()
    pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    for c in SCALARS:
        pieces = len(pre_tokenizer.pre_tokenize_str(f"a{chr(c)}a"))
        if pieces == 3:
            isolated.add(c)
        elif pieces == 2:
            white_space.add(c)
    return isolated, white_space


def word_characters():
    """Word characters of Rust's regex: a single_word token does not match after them."""
    token = {
        "id": 1,
        "content": "\U000f0000",
        "single_word": True,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    model = {
        "type": "WordPiece",
        "unk_token": "u",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {"u": 0, token["content"]: 1},
    }
    tokenizer = Tokenizer.from_str(
        json.dumps(
            {
                "version": "1.0",
                "added_tokens": [token],
                "normalizer": None,
                "pre_tokenizer": None,
                "post_processor": None,
                "decoder": None,
                "model": model,
            }
        )
    )
    texts = [chr(c) + token["content"] for c in SCALARS]
    found = tokenizer.encode_batch_fast(texts)
    return {c for c, encoding in zip(SCALARS, found) if 1 not in encoding.ids}


def ordered_marks(decomposed, stripped):
    """Code points that canonical ordering moves and that stripping of accents leaves."""
    after_overlay = ask_each(normalizers.NFD(), "a{}" + OVERLAY)
    marks = set()
    for c, answer in after_overlay.items():
        moved = decomposed[c] == chr(c) and answer == f"a{OVERLAY}{chr(c)}"
        if moved and stripped[c] != "" and unicodedata.combining(chr(c)) != 1:
            marks.add(c)
        overlays = unicodedata.combining(chr(c)) == 1 and stripped[c] != ""
        assert (
            not overlays
        ), f"U+{c:04X}: class 1 and not Mn; this probe cannot see whether it moves"
    return marks


def ranges(code_points):
    """Sorted, inclusive [first, last] pairs."""
    found = []
    for c in sorted(code_points):
        if found and found[-1][1] == c - 1:
            found[-1][1] = c
        else:
            found.append([c, c])
    return found


def lowercase_runs(lowered):
    """[first, last, step, delta]: code points first, first + step, ..., last become c + delta."""
    runs = []
    for c in sorted(c for c, answer in lowered.items() if answer != chr(c)):
        if len(lowered[c]) != 1:
            assert (c, lowered[c]) == (
                0x130,
                "i\u0307",
            ), f"U+{c:04X} has a lowercase of two characters"
            continue
        delta = ord(lowered[c]) - c
        step = c - runs[-1][1] if runs else 0
        if runs and runs[-1][3] == delta and step <= 2 and runs[-1][2] in (0, step):
            runs[-1][1], runs[-1][2] = c, step
        else:
            runs.append([c, c, 0, delta])
    return [[first, last, step or 1, delta] for first, last, step, delta in runs]


def table(comment, name, kind, rows):
    cells = [
        "{" + ", ".join(f"0x{v:X}" if i < 2 else str(v) for i, v in enumerate(row)) + "}"
        for row in rows
    ]
    lines, line = [f"/* {comment} */", f"static const struct {kind} {name}[] = {{"], "   "
    for cell in cells:
        if len(line) + len(cell) + 2 > 100:
            lines.append(line)
            line = "   "
        line += f" {cell},"
    return lines + [line, "};", ""]


def changed(answers):
    return {c for c, answer in answers.items() if answer != chr(c)}


def tables():
    """(comment, name, kind, rows) of each table."""
    cleaned = ask_each(bert(clean=True))
    decomposed = ask_each(normalizers.NFD())
    stripped = ask_each(bert(strip=True))
    isolated, white_space = splits()
    removed = {c for c, answer in cleaned.items() if answer == ""}
    marks = {c for c in stripped if decomposed[c] == chr(c) and stripped[c] == ""}
    # What the code relies on: clean_text makes a space of white space, of all of it, and no more.
    assert {c for c, answer in cleaned.items() if answer == " "} == white_space - removed
    assert all(answer in ("", " ", chr(c)) for c, answer in cleaned.items())
    sets = [
        ("clean_text removes these: NUL, U+FFFD, and Cc, Cf, Co of Unicode 8.", "removed", removed),
        ("White_Space, as Rust's char::is_whitespace.", "white_space", white_space),
        (
            "The pre-tokenizer isolates ASCII punctuation and P* of Unicode 8.",
            "punctuation",
            isolated,
        ),
        ("handle_chinese_chars isolates these.", "chinese", changed(ask_each(bert(chinese=True)))),
        ("Mn of Unicode 8: strip_accents drops them.", "nonspacing_marks", marks),
        ("What Unicode 9 decomposes: utf8proc knows how.", "decomposes", changed(decomposed)),
        (
            "Marks that canonical ordering moves and strip_accents keeps.",
            "ordered_marks",
            ordered_marks(decomposed, stripped),
        ),
        (r"\w of Rust's regex: for single_word.", "word_characters", word_characters()),
    ]
    yield from ((comment, name, "range", ranges(members)) for comment, name, members in sets)
    runs = lowercase_runs(ask_each(bert(lower=True)))
    yield "Lowercase, as Rust's char::to_lowercase, but for U+0130.", "lowercase", "run", runs


def generate():
    lines = [
        "/* Generated by scripts/generate_tokenizer_unicode.py from `tokenizers` 0.23.",
        " * Ranges are sorted and inclusive. */",
        "/* clang-format off */",
        "",
    ]
    for rows in tables():
        lines += table(*rows)
    return "\n".join(lines)


def main():
    check = "--check" in sys.argv
    path = [argument for argument in sys.argv[1:] if argument != "--check"][0]
    text = generate()
    if not check:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        return
    with open(path, encoding="ascii") as file:
        if file.read() != text:
            sys.exit(f"{path} is not what the package says; run {sys.argv[0]} {path}")


main()
