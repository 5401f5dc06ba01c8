#!/usr/bin/env python3
"""scripts/gpu_check itself, without a card.

    test_gpu_check.py PROGRAMS     the folder of gpu_check_standin and its like; runs most steps of
                                   the dry run with them, and plays broken ones itself
"""
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import gpu_check_steps  # noqa: E402

PROGRAMS = ""
FAKE_CHECK = """#!/bin/sh
case $2 in
dtypes) echo '{"auto": true, "float16": true, "fp8": true, "int8": false, "failures": 0}' ;;
%s
*) echo '{"start_ms": 1.0, "failures": 0}' ;;
esac
"""


def report_of_an_h100():
    return {"dry_run": False, "steps": {
        "machine": {"figures": {"card": "NVIDIA H100 80GB"}}, "build": {},
        "latency float16": {"figures": {"start_ms": 5, "1x32": {"median_us": 85.06}}},
        "throughput float16": {"figures": {"even32_512": {"mtok_s": 7.1, "tflop_s": 399.0}}},
        "torch": {"figures": {"eager": {"1x32": {"median_us": 900.0}},
                              "compiled": "does not work here: so"}}}}


class TestGpuCheck(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="gpu-check-test-")
        self.addCleanup(folder.cleanup)
        self.out = folder.name

    def fake(self, case="", **programs):
        """A folder of programs that all succeed at once, but for what the arguments say."""
        folder = os.path.join(self.out, "programs")
        os.mkdir(folder)
        scripts = {"gpu_check_standin": FAKE_CHECK % case,
                   **{f"test_cuda_{name}": "#!/bin/sh\necho ok\n"
                      for name in ("row_kernels", "head_kernels", "attention", "fp8_kernels")},
                   **programs}
        for name, text in scripts.items():
            path = os.path.join(folder, name)
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
            os.chmod(path, 0o755)
        return folder

    def test_the_table_has_a_line_for_each_figure_and_its_share(self):
        report = report_of_an_h100()
        report["steps"]["throughput fp8"] = {
            "figures": {"even32_512": {"mtok_s": 12.5, "tflop_s": 1117.2}}}
        report["shares_of_ceilings"] = gpu_check_steps.shares(report)
        lines = [" ".join(line.split()) for line in gpu_check_steps.table(report)]
        self.assertEqual(lines, [
            "latency float16 1x32 85.06 us 33 % of the ceiling",
            "throughput float16 even32_512 7.1 Mtok/s 50 % of the ceiling",
            "torch eager 1x32 900.0 us",
            "throughput fp8 even32_512 12.5 Mtok/s 140 % of float16's ceiling"])

    def predict(self, **changes):
        """The lines of scripts/predict_l4.py with a report of gpu_check."""
        path = os.path.join(self.out, "gpu_check.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({**report_of_an_h100(), **changes}, file)
        ended = subprocess.run([sys.executable, os.path.join(ROOT, "scripts/predict_l4.py"),
                                "--from", path], capture_output=True, text=True, check=True)
        return [" ".join(line.split()) for line in ended.stdout.splitlines()]

    def test_a_prediction_is_called_one_and_what_was_measured_stands_below_it(self):
        lines = self.predict()
        self.assertEqual([line for line in lines if line.startswith("PREDICTION")], [
            f"PREDICTION for L4, {dtype}, sentences of 32 tokens (not measured)"
            for dtype in ("float16", "fp8")])
        measured = lines[lines.index("MEASURED by scripts/gpu_check on NVIDIA H100 80GB") + 1:]
        self.assertEqual(measured, ["latency float16 1x32 85.06 us",
                                    "throughput float16 even32_512 7.1 Mtok/s",
                                    "torch eager 1x32 900.0 us"])
        self.assertIn("DRY RUN: these figures mean nothing", self.predict(dry_run=True))
        self.assertEqual(self.predict(steps={})[-1], "no step has a time or a rate")

    def run_dry(self, programs, *flags):
        """(exit status, the report's steps, the report)"""
        ended = subprocess.run(
            [sys.executable, os.path.join(ROOT, "scripts/gpu_check"), "--dry-run", "--programs",
             programs, *flags], env={**os.environ, "OUT": self.out}, capture_output=True, text=True,
            check=False, timeout=300)
        with open(os.path.join(self.out, "gpu_check.json"), encoding="utf-8") as file:
            report = json.load(file)
        self.assertIn("report", json.loads(ended.stdout), ended.stderr)
        return ended.returncode, report["steps"], report

    def test_the_steps_pass_over_the_standin(self):
        status, steps, report = self.run_dry(PROGRAMS, "--only",
                                             "parity,buckets,bits,latency,ring,torch")
        self.assertEqual(status, 0, steps)
        self.assertTrue(report["dry_run"])
        self.assertEqual({entry["status"] for entry in steps.values()}, {"passed", "skipped"})
        for step in ("parity float32", "parity bfloat16", "buckets float16", "bits float16",
                     "latency float16", "ring float16"):
            self.assertEqual(steps[step]["status"], "passed")
        self.assertGreater(steps["bits float16"]["figures"]["texts"], 50)
        self.assertGreater(steps["buckets float16"]["figures"]["buckets"], 20)
        self.assertEqual(steps["parity float16"]["figures"]["texts"],
                         steps["texts"]["figures"]["texts"])
        self.assertIn("reason", steps["torch"])

    def test_every_step_is_run_and_new_dtypes_come_from_the_engine(self):
        status, steps, _ = self.run_dry(self.fake())
        self.assertEqual(status, 0, steps)
        for step in ("known_answers attention", "tune float16", "parity fp8", "bits fp8",
                     "throughput fp8", "throughput float16 own_ffn", "racecheck attention", "http",
                     "onnxruntime"):
            self.assertIn(step, steps)
        self.assertNotIn("parity int8", steps)
        self.assertNotIn("parity auto", steps)

    def test_failing_steps_cost_neither_later_steps_nor_the_report(self):
        status, steps, _ = self.run_dry(self.fake(
            case="bits) echo '{\"texts\": 9, \"failures\": 2}'; exit 1 ;;\n"
                 "latency) kill -SEGV $$ ;;\nring) echo nonsense ;;",
            test_cuda_attention="#!/bin/sh\necho 'attention is wrong' >&2\nexit 1\n"))
        self.assertEqual(status, 1)
        for step in ("known_answers attention", "bits float16", "latency float16", "ring float16"):
            self.assertEqual(steps[step]["status"], "failed", step)
            self.assertIn("reason", steps[step])
        self.assertEqual(steps["bits float16"]["figures"]["texts"], 9)
        for step in ("parity float16", "throughput float16", "tune float16"):
            self.assertEqual(steps[step]["status"], "passed", step)
        with open(os.path.join(self.out, "gpu_check.log"), encoding="utf-8") as file:
            self.assertIn("attention is wrong", file.read())

    def test_a_program_that_is_missing_is_a_failed_step(self):
        folder = self.fake()
        os.unlink(os.path.join(folder, "test_cuda_row_kernels"))
        status, steps, _ = self.run_dry(folder)
        self.assertEqual(status, 1)
        self.assertEqual(steps["known_answers row_kernels"]["status"], "failed")
        self.assertEqual(steps["parity float16"]["status"], "passed")

    def test_the_time_limit_ends_it_with_what_there_is(self):
        programs = self.fake(case="buckets) echo '{\"kept\": 1}'; sleep 600 ;;")
        begin_s = time.monotonic()
        status, steps, _ = self.run_dry(programs, "--seconds", "8")  # a busy machine is there by 8
        self.assertLess(time.monotonic() - begin_s, 60)
        self.assertEqual(status, 1)
        self.assertEqual(steps["parity float16"]["status"], "passed")
        self.assertEqual(steps["buckets float16"]["status"], "timed out")
        self.assertEqual(steps["buckets float16"]["figures"], {"kept": 1})
        self.assertEqual(steps["bits float16"]["status"], "not reached")
        self.assertEqual(steps["onnxruntime"]["status"], "not reached")

    def test_expected_logits_of_another_machine_are_taken(self):
        given = os.path.join(self.out, "given")
        with open(given, "w", encoding="ascii") as file:
            file.write("12345678")
        status, steps, _ = self.run_dry(self.fake(case="expected) exit 1 ;;"), "--expected", given)
        self.assertEqual(status, 0, steps)
        self.assertEqual(steps["expected"]["figures"]["source"], "given")

    def test_the_plain_reference_agrees_with_the_cpu_backend(self):
        ids, logits = os.path.join(self.out, "ids"), []
        with open(ids, "w", encoding="ascii") as file:
            file.write("5 6 7\n1\n" + " ".join(map(str, range(90))) + "\n")
        for program in ("gpu_check_standin", "gpu_check_plain"):
            path = os.path.join(self.out, program)
            subprocess.run([os.path.join(PROGRAMS, program), "--dry-run", "expected", "float32",
                            ids, path], check=True, capture_output=True)
            with open(path, "rb") as file:
                logits.append(struct.unpack("<Q6f", file.read()))
        self.assertEqual(logits[0][0], logits[1][0])
        for ours, theirs in zip(logits[0][1:], logits[1][1:], strict=True):
            self.assertAlmostEqual(ours, theirs, delta=1e-4)
        self.assertGreater(max(logits[0][1:]) - min(logits[0][1:]), 0.1)

    def test_expected_logits_of_other_texts_are_not_believed(self):
        given = os.path.join(self.out, "given")
        with open(given, "wb") as file:
            file.write(bytes(8 + 24 * 8))
        status, steps, _ = self.run_dry(PROGRAMS, "--only", "parity", "--expected", given)
        self.assertEqual(status, 1)
        self.assertEqual(steps["parity float16"]["status"], "failed")

    def test_without_a_card_it_says_so_and_still_reports(self):
        ended = subprocess.run([sys.executable, os.path.join(ROOT, "scripts/gpu_check")],
                               env={"OUT": self.out, "PATH": "/nowhere"}, capture_output=True,
                               text=True, check=False, timeout=300)
        self.assertEqual(ended.returncode, 1)
        self.assertIn("machine: failed: no NVIDIA GPU here", ended.stderr)
        self.assertIn("expected: failed: without a card", ended.stderr)
        with open(os.path.join(self.out, "gpu_check.json"), encoding="utf-8") as file:
            steps = json.load(file)["steps"]
        self.assertEqual(steps["parity float16"]["status"], "failed")
        self.assertIn("not there", steps["parity float16"]["reason"])


if __name__ == "__main__":
    PROGRAMS = os.path.abspath(sys.argv[1])
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
