"""Drives proto_probe: see the head of proto_probe.c for its commands."""

import json
import struct
import subprocess


class Probe:
    def __init__(self, program):
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def ask(self, *words):
        return self.ask_many([" ".join(words)])[0]

    def ask_many(self, lines, at_once=500):
        """The answers to many commands, sent in groups that fit the pipes."""
        answers = []
        for start in range(0, len(lines), at_once):
            group = lines[start : start + at_once]
            self.process.stdin.write("\n".join(group) + "\n")
            self.process.stdin.flush()
            answers += [self.process.stdout.readline().rstrip("\n") for _ in group]
        return answers

    def parse(self, encoding, body):
        return self.ask("parse", encoding, body.hex())

    def answer(self, encodings, problem, labels, logits, body):
        """The bytes of an answer; logits is a list of lists."""
        packed = b"".join(struct.pack(f"<{len(row)}f", *row) for row in logits)
        words = self.ask(
            "answer", encodings, problem, ",".join(labels), packed.hex(), body.hex()
        ).split(" ", 1)
        assert words[0] == "ok", f"{body!r}: {words[1]}"
        return bytes.fromhex(words[1])

    def close(self):
        self.process.stdin.close()
        assert self.process.wait() == 0


def as_json(value):
    """As FastAPI's JSONResponse prints it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
