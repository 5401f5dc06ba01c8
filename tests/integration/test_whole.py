"""The whole server under scripts/supervisor: answers, deaths, drains, reloads, odd clients."""
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "frontend")]
import harness  # noqa: E402
from harness import (BIN, SOURCE, Supervisor, children_of, client_ports_of,  # noqa: E402
                     eventually, is_running)
from http_harness import Client, get  # noqa: E402
from load import TEXTS, Load  # noqa: E402

MODEL = os.path.join(SOURCE, "models/tiny-sst2")
POISON = "zebra"


def token_id(word):
    with open(os.path.join(MODEL, "vocab.txt"), encoding="utf-8") as file:
        return file.read().split("\n").index(word)


def predict(port, text, path="/predict", **more):
    """(status, decoded body)."""
    with Client(port) as client:
        reply = client.request("POST", path, json.dumps({"text": text, **more}),
                               {"Content-Type": "application/json"})
        return reply.status, json.loads(reply.body)


def label(port, text, path="/predict"):
    status, body = predict(port, text, path)
    assert status == 200, body
    return body["prediction"][0]["label"]


class Whole(unittest.TestCase):
    def start(self, *flags, **options):
        env = {"WEIR_BIN": BIN, "MODEL_ID": MODEL, "BACKEND": "cpu", **options.pop("env", {})}
        server = Supervisor("--frontends", "2", *flags, env=env, **options)
        self.addCleanup(server.__exit__)
        return server

    def load(self, server, **options):
        load = Load(server.port, **options).start()
        self.addCleanup(load.stop)
        return load

    def metric(self, server, name):
        """The sum over a family's series."""
        lines = get(server.port, "/metrics").body.decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines
                   if line.startswith((name + " ", name + "{")))


class AnswersTest(Whole):
    def test_the_whole_path_answers(self):
        port = self.start().port
        self.assertEqual(label(port, "a gorgeous, witty, seductive movie"), "POSITIVE")
        self.assertEqual(label(port, "a waste of two hours of my life"), "NEGATIVE")
        status, body = predict(port, TEXTS)
        self.assertEqual((status, len(body["prediction"])), (200, len(TEXTS)))
        for path in ("/healthz", "/health", "/ready", "/live", "/metrics", "/info"):
            self.assertEqual(get(port, path).status, 200, path)

    def test_port_and_vertex_variables_are_honoured(self):
        vertex = {"AIP_HEALTH_ROUTE": "/v1/endpoints/1/deployedModels/2",
                  "AIP_PREDICT_ROUTE": "/v1/endpoints/1/deployedModels/2:predict"}
        server = self.start(env=vertex)  # the harness passes its port as PORT
        self.assertEqual(get(server.port, vertex["AIP_HEALTH_ROUTE"]).status, 200)
        with Client(server.port) as client:
            reply = client.request("POST", vertex["AIP_PREDICT_ROUTE"],
                                   json.dumps({"instances": [TEXTS[0], {"text": TEXTS[1]}]}))
        self.assertEqual(reply.status, 200)
        self.assertEqual(len(json.loads(reply.body)["predictions"]), 2)
        holder = harness.hold_port()
        self.addCleanup(holder.close)
        other = holder.getsockname()[1]
        self.start(env={"AIP_HTTP_PORT": str(other)})  # beats PORT
        self.assertEqual(label(other, TEXTS[0]), "POSITIVE")

    def test_scores_equal_those_of_the_transformers_pipeline(self):
        python = os.path.join(SOURCE, "build/venv-reference/bin/python")
        if not os.path.exists(python):
            self.skipTest("no build/venv-reference: scripts/make_venvs makes it")
        server = self.start()
        folder = server.folder.name
        texts = TEXTS + ["", "naïve café ☕ 電影", "word " * 700, "[MASK] a [SEP] b"]
        with open(os.path.join(folder, "texts"), "w", encoding="utf-8") as file:
            json.dump(texts, file)
        subprocess.run([python, os.path.join(SOURCE, "tests/parity/reference.py"), MODEL,
                        os.path.join(folder, "texts"), os.path.join(folder, "answers")],
                       check=True, capture_output=True, timeout=120)
        with open(os.path.join(folder, "answers"), encoding="utf-8") as file:
            expected = json.load(file)
        for text, theirs in zip(texts, expected):
            status, body = predict(server.port, text, top_k=None)
            self.assertEqual(status, 200, text[:40])
            ours = {row["label"]: row["score"] for row in body["prediction"]}
            for row in theirs["answer"]:
                self.assertAlmostEqual(ours[row["label"]], row["score"], delta=1e-5, msg=text[:40])


class DeathTest(Whole):
    def test_ten_killed_workers_fail_no_request(self):
        server = self.start()
        load = self.load(server)
        for _ in range(10):
            load.wait_until_ok(50)
            worker = server.worker()
            os.kill(worker, signal.SIGKILL)
            server.expect_log("worker 1 ended with SIGKILL")
        load.wait_until_ok(200)
        load.stop()
        self.assertEqual(load.failures, [])
        self.assertEqual(load.n_refused, 0)
        self.assertTrue(all(len(bodies) == 1 for bodies in load.answers.values()))
        self.assertGreaterEqual(self.metric(server, "weir_worker_starts_total"), 11)
        server.check_segment()

    def test_workers_killed_while_they_run_the_last_ones_texts_fail_no_request(self):
        server = self.start()
        load = self.load(server)
        for _ in range(10):
            load.wait_until_ok(1)  # most of what was running runs again, or waits to
            os.kill(server.worker(), signal.SIGKILL)
            server.expect_log("worker 1 ended with SIGKILL")
        load.wait_until_ok(200)
        load.stop()
        self.assertEqual(load.failures, [])
        self.assertEqual(self.metric(server, "weir_texts_poisoned_total"), 0)

    def test_a_killed_frontend_takes_only_its_own_connections(self):
        server = self.start()
        load = self.load(server, connections=32)
        n_survivors = 0
        for _ in range(3):
            load.wait_until_ok(100)
            victim, other = server.pids("weir-frontend")
            survivors, n_broken = client_ports_of(other), len(load.broken_ports)
            os.kill(victim, signal.SIGKILL)
            server.expect_log("frontend 1 . ended with SIGKILL")
            eventually(lambda: len(server.pids("weir-frontend")) == 2, "another frontend")
            load.wait_until_ok(100)
            self.assertEqual(survivors.intersection(load.broken_ports[n_broken:]), set())
            n_survivors += len(survivors)
        load.stop()
        self.assertGreater(n_survivors, 0)
        self.assertGreater(len(load.failures), 0)  # the victims had connections, too
        others = [what for what, _ in load.failures if not what.startswith("no answer")]
        self.assertEqual(others, [])
        eventually(lambda: "0 texts queued or running" in self.status(server), "all slots free")
        server.check_segment()

    def status(self, server):
        return subprocess.run([os.path.join(BIN, "shm_inspect"), "status", "--segment",
                               server.segment], check=True, capture_output=True, text=True).stdout

    def test_a_poisonous_text_gets_500_and_harms_nobody_else(self):
        server = self.start(env={"WEIR_TEST_POISON_TOKEN": str(token_id(POISON))})
        load = self.load(server)
        status, body = predict(server.port, f"a {POISON} in the cinema")
        self.assertEqual(status, 500, body)
        load.wait_until_ok(100)
        load.stop()
        self.assertEqual(load.failures, [])
        self.assertEqual(self.metric(server, "weir_texts_poisoned_total"), 1)

    def test_a_text_that_kills_without_a_word_is_given_up_before_the_server_is(self):
        server = self.start(env={"WEIR_TEST_KILL_TOKEN": str(token_id(POISON)),
                                 "REQUEST_TIMEOUT_MS": "120000"})  # a dozen starts
        load = self.load(server)
        status, body = predict(server.port, f"a {POISON} in the cinema")
        self.assertEqual(status, 500, body)
        load.wait_until_ok(100)
        load.stop()
        self.assertEqual(load.failures, [])

    def test_a_hung_worker_is_replaced(self):
        server = self.start(env={"WEIR_TEST_HANG_TOKEN": str(token_id(POISON)),
                                 "HANG_TIMEOUT_MS": "2500"})  # more than a busy machine takes
        load = self.load(server)
        status, body = predict(server.port, f"a {POISON} in the cinema")
        self.assertEqual(status, 500, body)  # it hung two workers
        server.expect_log("worker 1 does not work: the worker's heartbeat is too old")
        load.wait_until_ok(100)
        load.stop()
        self.assertEqual(load.failures, [])

    def test_children_end_when_the_supervisor_is_killed(self):
        server = self.start()
        children = server.pids("weir-worker") + server.pids("weir-frontend")
        server.signal(signal.SIGKILL)
        eventually(lambda: not any(is_running(pid) for pid in children), "the children's end")

    def test_a_port_that_is_taken_ends_with_its_sentence_and_no_restart(self):
        with socket.socket() as holder:
            holder.bind(("0.0.0.0", 0))
            holder.listen()
            server = self.start(port=holder.getsockname()[1], wait=False)
            self.assertEqual(server.wait(), 78, server.text())
        self.assertIn("Address already in use; stop the program that has it", server.text())

    def test_bad_configuration_ends_with_its_sentence_and_no_restart(self):
        cases = [(["--model-id", "/nowhere"], 78, "/nowhere"), (["--no-such-flag"], 64, "no-such"),
                 (["--port", "99999"], 64, "99999"), (["--frontends", "64"], 64, "frontends")]
        for flags, status, words in cases:
            with self.subTest(flags=flags):
                server = self.start(*flags, wait=False)
                self.assertEqual(server.wait(), status, server.text())
                self.assertIn(words, server.text())
                self.assertEqual(server.text().count("ended with status"), 1)


class DrainTest(Whole):
    def test_sigterm_under_load_fails_no_request_and_leaves_nothing(self):
        server = self.start()
        load = self.load(server, connections=64)
        load.wait_until_ok(500)
        children = children_of(server.process.pid)
        begin = time.monotonic()
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0, server.text())
        self.assertLess(time.monotonic() - begin, 10)
        load.stop()
        self.assertEqual(load.failures, [])
        eventually(lambda: not any(is_running(pid) for pid in children), "the children's end")
        self.assertFalse(os.path.exists(server.segment))

    def test_sighup_under_load_fails_no_request(self):
        server = self.start()
        load = self.load(server, connections=32)
        for generation in (2, 3):
            load.wait_until_ok(200)
            old = children_of(server.process.pid)
            server.signal(signal.SIGHUP)
            server.expect_log(rf"segment {server.segment}\.{generation}$")
            eventually(lambda: not any(is_running(pid) for pid in old if pid in old), "their end")
        load.wait_until_ok(200)
        load.stop()
        self.assertEqual(load.failures, [])
        self.assertEqual(load.n_refused, 0)

    def test_signals_that_reach_every_process_fail_no_request(self):
        """As systemd and a terminal send them; SIGUSR1 and SIGUSR2 as somebody may by mistake."""
        server = self.start()
        load = self.load(server)
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGTERM):
            load.wait_until_ok(100)
            children = children_of(server.process.pid)
            for pid in [server.process.pid, *children]:
                with contextlib.suppress(ProcessLookupError):  # a look at the health that is over
                    os.kill(pid, number)
            if number == signal.SIGHUP:
                server.expect_log(rf"segment {server.segment}\.2$")
                eventually(lambda: not any(is_running(pid) for pid in children), "their end")
        self.assertEqual(server.wait(), 0, server.text())
        load.stop()
        self.assertEqual(load.failures, [])
        self.assertNotIn("ended with", server.text())

    def test_sigterm_with_a_dead_worker_still_answers(self):
        server = self.start("--drain-timeout-ms", "25000")  # a busy machine's next worker needs it
        load = self.load(server)
        load.wait_until_ok(100)
        os.kill(server.worker(), signal.SIGKILL)
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0)
        load.stop()
        self.assertEqual(load.failures, [])


class ReloadTest(Whole):
    def test_a_frontend_never_serves_another_model_than_the_worker(self):
        """The folder is changed, and a frontend dies before the reload."""
        with tempfile.TemporaryDirectory() as folder:
            link, other = os.path.join(folder, "link"), os.path.join(folder, "other")
            shutil.copytree(MODEL, other)
            with open(os.path.join(other, "config.json"), encoding="utf-8") as file:
                config = json.load(file)
            config["id2label"] = {"0": "POSITIVE", "1": "NEGATIVE"}  # the wrong way round
            with open(os.path.join(other, "config.json"), "w", encoding="utf-8") as file:
                json.dump(config, file)
            os.symlink(MODEL, link)
            server = self.start(env={"MODEL_ID": link})
            os.unlink(link)
            os.symlink(other, link)
            os.kill(server.pids("weir-frontend")[0], signal.SIGKILL)
            server.expect_log("holds another model by now than the worker serves; reload with")
            for _ in range(8):
                self.assertEqual(label(server.port, TEXTS[0]), "POSITIVE")
            server.signal(signal.SIGHUP)
            server.expect_log(rf"segment {server.segment}\.2$")
            eventually(lambda: len(server.pids("weir-worker")) == 1, "the old worker's end")
            for _ in range(8):
                self.assertEqual(label(server.port, TEXTS[0]), "NEGATIVE")


class OddClientsTest(Whole):
    def test_malformed_and_oversized_bodies_get_their_status(self):
        server = self.start("--payload-limit", "10000")
        cases = [(b"{", 400), (b'{"text":1}', 400), (b"[]", 400), (b'{"text":"\xff"}', 422),
                 (b'{"text":"' + b"a" * 20000 + b'"}', 413), (b"", 400)]
        with Client(server.port) as other:
            for body, status in cases:
                with Client(server.port) as client:
                    reply = client.request("POST", "/predict", body)
                    self.assertIn(reply.status, (status, 400), body[:30])
                    self.assertIn("error", json.loads(reply.body))
            self.assertEqual(other.request("GET", "/healthz").status, 200)

    def test_a_slow_client_is_cut_off_and_others_are_not(self):
        server = self.start("--client-timeout-ms", "2500")  # no other client may take that long
        with Client(server.port) as slow:
            slow.send("POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
            load = self.load(server)
            reply = slow.read()
            self.assertIn(reply and reply.status, (408, None))
            load.stop()
            self.assertEqual(load.failures, [])

    def test_a_thousand_connections_at_once_are_all_answered(self):
        server = self.start()
        before = self.metric(server, "weir_requests_total")
        load = self.load(server, connections=1000)
        load.wait_until_ok(3000)
        load.stop()
        self.assertEqual(load.failures, [])
        self.assertEqual(load.n_refused, 0)
        self.assertGreaterEqual(load.n_connections, 1000)
        self.assertGreater(self.metric(server, "weir_requests_total"), before + 3000)
        server.check_segment()


if __name__ == "__main__":
    harness.main()
