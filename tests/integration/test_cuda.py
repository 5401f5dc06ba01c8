"""The whole server with --backend cuda, on the CPU: the module over the stand-in for CUDA.

    test_cuda.py MODULE LIBRARY    weir_encoder_cuda.so over the stand-in, and the stand-in, which
                                   is opened as cuBLASLt
"""
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "frontend")]
import harness  # noqa: E402
from harness import BIN, SOURCE, Supervisor, children_of, eventually, is_running  # noqa: E402
from http_harness import Client, get  # noqa: E402
from load import Load  # noqa: E402

MODULE, CUBLASLT = "", ""
DIM, FFN, N_LAYERS, N_POSITIONS, N_LABELS = 32, 64, 2, 64, 3
WORDS = [f"word{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
LENGTHS = [1, 2, 7, 13, 14, 15, 29, 30, 31, 46, 61, 62, 90]  # in words; more than 62 are cut
FLOAT16_ERROR_MAX = 1e-2
FP8_ERROR_MAX = 0.15
WATCHDOG_MS = 1000  # no batch of a busy machine takes so long


def text_of(n_words, seed):
    return " ".join(random.Random(seed).choices(WORDS, k=n_words))


TEXTS = [text_of(n, seed) for seed, n in enumerate(LENGTHS)]


def tensors():
    """(name, shape, mean, deviation) of a DistilBERT so small that an emulated card starts soon."""
    def linear(name, n_out, n_in):
        return [(f"{name}.weight", (n_out, n_in), 0, n_in ** -0.5),
                (f"{name}.bias", (n_out,), 0, .05)]

    def norm(name):
        return [(f"{name}.weight", (DIM,), 1, .05), (f"{name}.bias", (DIM,), 0, .05)]

    embeddings = "distilbert.embeddings"
    rows = [(f"{embeddings}.word_embeddings.weight", (len(VOCABULARY), DIM), 0, 1),
            (f"{embeddings}.position_embeddings.weight", (N_POSITIONS, DIM), 0, .3),
            *norm(f"{embeddings}.LayerNorm")]
    for i in range(N_LAYERS):
        layer = f"distilbert.transformer.layer.{i}"
        for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
            rows += linear(f"{layer}.attention.{name}", DIM, DIM)
        rows += norm(f"{layer}.sa_layer_norm") + linear(f"{layer}.ffn.lin1", FFN, DIM)
        rows += linear(f"{layer}.ffn.lin2", DIM, FFN) + norm(f"{layer}.output_layer_norm")
    return rows + linear("pre_classifier", DIM, DIM) + linear("classifier", N_LABELS, DIM)


def write_model(folder):
    source, header, blob = random.Random(1), {}, b""
    for name, shape, mean, deviation in tensors():
        size = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = struct.pack(f"<{size}f", *(source.gauss(mean, deviation) for _ in range(size)))
        header[name] = {"dtype": "F32", "shape": shape,
                        "data_offsets": [len(blob), len(blob) + len(values)]}
        blob += values
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    os.mkdir(folder)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + blob)
    config = {"architectures": ["DistilBertForSequenceClassification"], "model_type": "distilbert",
              "activation": "gelu", "dim": DIM, "hidden_dim": FFN, "n_heads": 1,
              "n_layers": N_LAYERS, "max_position_embeddings": N_POSITIONS, "pad_token_id": 0,
              "vocab_size": len(VOCABULARY), "id2label": {str(i): str(i) for i in range(N_LABELS)},
              "label2id": {str(i): i for i in range(N_LABELS)}}
    tokenizer = {"do_lower_case": True, "model_max_length": N_POSITIONS,
                 "tokenizer_class": "DistilBertTokenizer"}
    for name, content in (("config", config), ("tokenizer_config", tokenizer)):
        with open(os.path.join(folder, name + ".json"), "w", encoding="utf-8") as file:
            json.dump(content, file)
    with open(os.path.join(folder, "vocab.txt"), "w", encoding="utf-8") as file:
        file.write("\n".join(VOCABULARY) + "\n")


def logits(port, texts):
    """For each text its logits by label, of one request."""
    body = {"text": texts, "function_to_apply": "none", "top_k": None}
    with Client(port) as client:
        reply = client.request("POST", "/predict", json.dumps(body),
                               {"Content-Type": "application/json"})
    assert reply.status == 200, reply
    return [{row["label"]: row["score"] for row in rows} for rows in reply.json()["prediction"]]


class CudaTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="weir-cuda-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        cls.model = os.path.join(folder.name, "model")
        write_model(cls.model)
        # The worker looks for the module beside its own file, so it needs a folder of its own.
        shutil.copytree(BIN, os.path.join(folder.name, "bin"))
        os.mkdir(os.path.join(folder.name, "lib"))
        shutil.copy(MODULE, os.path.join(folder.name, "lib"))

    def start(self, backend, *flags, faults=(), wait=True, **env):
        self.faults = tempfile.mkdtemp(dir=self.folder)
        for name in faults:
            with open(os.path.join(self.faults, name), "w", encoding="ascii"):
                pass
        env = {"WEIR_BIN": os.path.join(self.folder, "bin"), "MODEL_ID": self.model,
               "BACKEND": backend, "WEIR_CUBLASLT": CUBLASLT, "WEIR_STANDIN_FAULTS": self.faults,
               "WEIR_CUDA_WATCHDOG_MS": str(WATCHDOG_MS), **env}
        server = Supervisor("--frontends", "2", "--max-batch-tokens", "512", *flags, env=env,
                            wait=wait)
        self.addCleanup(server.__exit__)
        return server

    def load(self, server):
        load = Load(server.port, connections=8, texts=TEXTS).start()
        self.addCleanup(load.stop)
        return load

    def ask_for_fault(self, name):
        """Returns when the card, which needs work for that, has met it."""
        path = os.path.join(self.faults, name)
        with open(path, "w", encoding="ascii"):
            pass
        eventually(lambda: not os.path.exists(path), f"a card that meets {name}")

    def end_load(self, server, load):
        load.wait_until_ok(30)
        load.stop()
        self.assertEqual(load.failures, [])
        self.assertEqual(load.n_refused, 0)
        self.assertTrue(all(len(bodies) == 1 for bodies in load.answers.values()))
        server.check_segment()

    def test_answers_are_those_of_the_cpu_backend(self):
        theirs = logits(self.start("cpu").port, TEXTS)
        server = self.start("cuda")
        self.assertIn("CUDA stand-in", server.text())
        for ours in (logits(server.port, TEXTS), [logits(server.port, [t])[0] for t in TEXTS]):
            for n_words, row, expected in zip(LENGTHS, ours, theirs, strict=True):
                self.assertEqual(set(row), set(expected))
                for label, value in expected.items():
                    self.assertAlmostEqual(row[label], value, delta=FLOAT16_ERROR_MAX, msg=n_words)
        spread = [max(row["0"] for row in theirs), min(row["0"] for row in theirs)]
        self.assertGreater(spread[0] - spread[1], 10 * FLOAT16_ERROR_MAX)  # else this shows nothing

    def test_each_phase_of_the_start_is_told(self):
        server = self.start("cuda")

        def read():
            lines = get(server.port, "/metrics").body.decode().splitlines()
            return dict(line.rsplit(" ", 1) for line in lines if line.startswith("weir_start"))

        graphs = 'weir_start_phase_seconds{phase="graphs"}'  # beside the first answers
        eventually(lambda: float(read()[graphs]) > 0, "graphs")
        series = read()
        del series[graphs]
        total = float(series.pop("weir_start_seconds"))
        for name, seconds in series.items():
            self.assertGreater(float(seconds), 0, name)
        self.assertAlmostEqual(sum(map(float, series.values())), total, delta=1e-6)

    def test_the_module_logs_as_the_worker_does(self):
        server = self.start("cuda", JSON_OUTPUT="true")
        server.expect_log("graphs are ready")
        lines = [json.loads(line) for line in server.log]
        told = "graphs are ready|device memory: |mapped memory: "
        ours = [line for line in lines if re.search(told, line["message"])]
        self.assertGreater(len(ours), 2)
        self.assertEqual({line["process"] for line in ours}, {"worker"})
        quiet = self.start("cuda", LOG_LEVEL="warning")
        self.assertNotIn("device memory: ", quiet.text())

    def calibrate(self):
        texts, path = os.path.join(self.folder, "texts"), os.path.join(self.folder, "fp8.json")
        with open(texts, "w", encoding="utf-8") as file:
            file.write("\n".join(TEXTS) + "\n")
        env = {**os.environ, "WEIR_BIN": os.path.join(self.folder, "bin"),
               "WEIR_CUBLASLT": CUBLASLT}
        done = subprocess.run(
            [os.path.join(SOURCE, "scripts/calibrate"), "--model-id", self.model, "--texts", texts,
             "--out", path, "--frontends", "1", "--max-batch-tokens", "512"],
            env=env, check=False, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"calibrated with {len(TEXTS) + 1} texts", done.stderr)  # and the canary
        return path

    def test_a_calibrated_fp8_server_answers_nearly_as_the_cpu_backend(self):
        theirs = logits(self.start("cpu").port, TEXTS)
        server = self.start("cuda", DTYPE="fp8", WEIR_CUDA_FP8_FILE=self.calibrate())
        self.assertIn(" fp8, ", str(get(server.port, "/info").json()))
        ours = logits(server.port, TEXTS)
        errors = [abs(row[label] - value) for row, expected in zip(ours, theirs, strict=True)
                  for label, value in expected.items()]
        self.assertLess(max(errors), FP8_ERROR_MAX)
        self.assertGreater(max(errors), FLOAT16_ERROR_MAX)  # else it was not fp8 at all

    def test_fp8_without_a_calibration_is_refused_in_a_sentence(self):
        server = Supervisor("--frontends", "1", wait=False, env={
            "WEIR_BIN": os.path.join(self.folder, "bin"), "MODEL_ID": self.model,
            "BACKEND": "cuda", "DTYPE": "fp8", "WEIR_CUBLASLT": CUBLASLT})
        self.addCleanup(server.__exit__)
        server.expect_log("--dtype fp8 needs to know .* run scripts/calibrate and name the file")
        self.assertEqual(server.wait(), 78)

    def test_killed_workers_fail_no_request(self):
        server = self.start("cuda")
        load = self.load(server)
        for _ in range(2):
            load.wait_until_ok(30)
            os.kill(server.worker(), signal.SIGKILL)
            server.expect_log("worker 1 ended with SIGKILL")
        self.end_load(server, load)

    def test_a_hanging_card_is_a_new_worker_and_no_failed_request(self):
        server = self.start("cuda")
        load = self.load(server)
        self.ask_for_fault("hang")
        server.expect_log(f"did not finish within {WATCHDOG_MS} ms")
        server.expect_log("worker 1 ended with status 75; last words: the cuda encoder failed")
        self.end_load(server, load)

    def test_a_card_that_hangs_during_the_start_is_named_and_tried_again(self):
        server = self.start("cuda", "--start-timeout-ms", "1500", faults=["hang-device", "hang"])
        hangs = 'ended with status 75; last words: the start hangs: its phase "%s" has taken more'
        server.expect_log(hangs % "device")
        server.expect_log(hangs % "weights")
        self.assertEqual(len(logits(server.port, TEXTS)), len(TEXTS))

    def test_a_card_that_hangs_at_every_start_ends_the_server(self):
        server = self.start("cuda", "--start-timeout-ms", "1500", faults=["hang-device", "hang"],
                            wait=False, WEIR_CRASHES_MAX="1")
        server.expect_log("worker 1 crashed 2 times in a row; stopping")
        self.assertEqual(server.wait(), 1)

    def test_a_card_that_breaks_while_idle_is_found_by_the_canary(self):
        server = self.start("cuda")
        self.assertEqual(get(server.port, "/ready").json()["status"], "ok")
        old = server.worker()
        self.ask_for_fault("break")  # nobody asks anything: the next work is the canary's
        server.expect_log("the cuda encoder failed on the canary")
        eventually(lambda: not is_running(old), "the worker's end")

        def epoch_of_a_ready_server():
            reply = get(server.port, "/ready")
            return reply.status == 200 and reply.json()["worker"]["epoch"]
        self.assertGreater(eventually(epoch_of_a_ready_server, "readiness"), 1)

    def test_sigterm_under_load_fails_no_request(self):
        server = self.start("cuda")
        load = self.load(server)
        load.wait_until_ok(30)
        children = children_of(server.process.pid)
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0, server.text())
        load.stop()
        self.assertEqual(load.failures, [])
        # its last act is to kill its timers, which end a moment after it
        eventually(lambda: not any(is_running(pid) for pid in children), "the children's end")

    def test_a_worker_told_to_end_serves_until_the_frontends_are_gone(self):
        server = self.start("cuda")
        load = self.load(server)
        load.wait_until_ok(30)
        old = server.worker()
        os.kill(old, signal.SIGTERM)  # as Ctrl-C and systemd do: all at once, in any order
        server.expect_log("draining: ")
        load.wait_until_ok(60)
        load.stop()
        for _ in range(3):  # nothing flies and nothing waits, yet there are frontends
            self.assertEqual(len(logits(server.port, TEXTS[:2])), 2)
        self.assertTrue(is_running(old), server.text())
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0, server.text())
        self.assertEqual(load.failures, [])
        self.assertFalse(is_running(old))


if __name__ == "__main__":
    MODULE, CUBLASLT = (os.path.abspath(path) for path in sys.argv[1:3])
    harness.main(argv=[sys.argv[0], *sys.argv[3:]])
