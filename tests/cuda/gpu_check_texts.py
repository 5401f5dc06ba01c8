"""Real texts as token ids, without any package: BERT's WordPiece for plain ASCII, which is enough
to have real lengths and real ids. Characters beyond it become [UNK]."""
import os
import re

LENGTH_MAX = 128  # in tokens, special ones included
WORDS = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")


def read_lines(path):
    """Texts of a file with one a line; of SST-2's table its second column."""
    with open(path, encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file]
    if path.endswith(".tsv"):
        lines = [line.split("\t")[1] for line in lines[1:]]
    return [line for line in lines if line.strip()]


def read_vocabulary(folder):
    with open(os.path.join(folder, "vocab.txt"), encoding="utf-8") as file:
        return {line.rstrip("\n"): number for number, line in enumerate(file)}


def pieces(word, vocabulary):
    """The longest piece that the vocabulary knows, and so on; None where one is unknown."""
    found, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start > 0 else "") + word[start:end]
            if piece in vocabulary:
                found.append(vocabulary[piece])
                start = end
                break
        else:
            return [vocabulary["[UNK]"]]
    return found


def token_ids(text, vocabulary):
    ids = [number for word in WORDS.findall(text.lower()) for number in pieces(word, vocabulary)]
    return [vocabulary["[CLS]"], *ids[:LENGTH_MAX - 2], vocabulary["[SEP]"]]


def write_ids(texts, model_folder, path):
    """A line of numbers for each text."""
    vocabulary = read_vocabulary(model_folder)
    with open(path, "w", encoding="ascii") as file:
        for text in texts:
            file.write(" ".join(map(str, token_ids(text, vocabulary))) + "\n")
