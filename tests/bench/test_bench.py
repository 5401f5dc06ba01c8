#!/usr/bin/env python3
"""scripts/bench --gpu refuses in a sentence where there is no card, before it builds anything."""
import os
import subprocess
import sys
import tempfile
import unittest

BENCH = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../scripts/bench")


def bench_with_nvidia_smi(script):
    """Runs scripts/bench --gpu with `script` as the only program on its PATH; None: no program."""
    with tempfile.TemporaryDirectory() as folder:
        if script is not None:
            path = os.path.join(folder, "nvidia-smi")
            with open(path, "w", encoding="ascii") as file:
                file.write("#!/bin/sh\n" + script)
            os.chmod(path, 0o755)
        return subprocess.run([sys.executable, BENCH, "--gpu"], capture_output=True, text=True,
                              check=False, timeout=60, env={"PATH": folder})


class TestGpu(unittest.TestCase):
    def check_refusal(self, script):
        ended = bench_with_nvidia_smi(script)
        self.assertEqual(ended.returncode, 1)
        self.assertEqual(ended.stdout, "")
        self.assertIn("bench: --gpu needs an NVIDIA GPU", ended.stderr)
        self.assertEqual(len(ended.stderr.splitlines()), 1)

    def test_a_machine_without_the_driver_is_refused(self):
        self.check_refusal(None)

    def test_a_driver_that_finds_no_card_is_refused(self):
        self.check_refusal("echo 'No devices were found'; exit 6\n")

    def test_an_empty_list_of_cards_is_refused(self):
        self.check_refusal("exit 0\n")


if __name__ == "__main__":
    unittest.main()
