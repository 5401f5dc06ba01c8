"""Start, overload, deadlines, the worker's death, drain: what a client and a supervisor see."""
import json
import os
import re
import shutil
import signal
import tempfile
import threading
import time
import unittest

import failure_logs
from http_harness import (JSON, PATIENCE_S, SANITIZED, Client, Server, documented_error,
                          eventually)

MODEL = os.path.join(os.path.dirname(__file__), "..", "..", "models", "tiny-sst2")
DEPTH = 'weir_lane_depth{lane="0"}'


class Background:
    """A request on a thread of its own."""

    def __init__(self, server, document, headers=None):
        self.reply = None
        self.thread = threading.Thread(target=self._run, args=(server, document, headers))
        self.thread.start()

    def _run(self, server, document, headers):
        self.reply = server.predict(document, headers)

    def wait(self):
        self.thread.join(timeout=PATIENCE_S)
        return self.reply


def metric(server, name):
    return server.metrics()[name]


def depth_is(server, n):
    eventually(lambda: metric(server, DEPTH) == n, f"{n} texts in the lane")


class Start(unittest.TestCase):
    def test_the_port_opens_once_the_worker_is_ready(self):
        with Server(start=False) as server:
            server.start_frontend(wait=False)
            eventually(lambda: "waiting for the worker" in server.text(), "it waits")
            self.assertNotIn("listening", server.text())
            server.start_worker()
            server.wait_ready()
            self.assertEqual(server.predict({"text": "a"}).status, 200)

    def test_a_dead_workers_segment_is_not_mistaken_for_a_worker(self):
        with Server(start=False) as server:
            server.start_worker()
            server.stop_worker()
            server.start_frontend(wait=False)
            eventually(lambda: "waiting for the worker" in server.text(), "it waits")
            self.assertEqual(server.stop_frontend(), 0)

    def test_a_worker_that_is_not_ready_keeps_the_port_closed(self):
        for state in ["starting", "failed"]:
            with Server(start=False, worker_env={"FAKE_STATE": state}) as server:
                server.start_worker()
                server.start_frontend(wait=False)
                eventually(lambda: "waiting for the worker" in server.text(), "it waits")
                self.assertEqual(server.stop_frontend(), 0)
                self.assertNotIn("listening", server.text())

    def test_configuration_errors_end_with_the_status_that_says_so(self):
        for flags, status, words in [(["--lane", "5"], 78, "--lane 5"),
                                     (["--model-id", "/nowhere"], 78, "/nowhere"),
                                     (["--hostname", "256.1.1.1"], 78, "--hostname"),
                                     (["--max-input-length", "3"], 78, "--max-input-length"),
                                     (["--log-level", "loud"], 64, "loud"),
                                     (["--nonsense"], 64, "nonsense")]:
            with self.subTest(flags=flags), Server(start=False) as server:
                server.start_worker()
                server.flags += flags
                server.start_frontend(wait=False)
                self.assertEqual(server.end_of_frontend(), status)
                self.assertIn(words, server.text())

    def test_a_tokenizer_with_ids_beyond_the_embedding_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ["config.json", "vocab.txt", "tokenizer_config.json"]:
                shutil.copy(os.path.join(MODEL, name), folder)
            with open(os.path.join(folder, "vocab.txt"), "a", encoding="utf-8") as vocabulary:
                vocabulary.write("onetoomany\n")
            with Server(start=False) as server:
                server.start_worker()
                server.flags += ["--model-id", folder]
                server.start_frontend(wait=False)
                self.assertEqual(server.end_of_frontend(), 78)
                self.assertIn("another model's", server.text())

    def test_a_lane_has_one_frontend(self):
        with Server() as server, Server(start=False) as second:
            second.flags = server.flags
            second.start_frontend(wait=False)
            self.assertEqual(second.end_of_frontend(), 75)
            self.assertIn("is held by process", second.text())

    def test_a_frontend_that_was_killed_has_a_successor_with_all_slots(self):
        with Server(worker_env={"FAKE_HOLD": "1"}) as server:
            client = server.client()
            body = json.dumps({"text": ["a"] * 10})
            client.send("POST /predict HTTP/1.1\r\nHost: x\r\n"
                        f"Content-Length: {len(body)}\r\n\r\n{body}")
            depth_is(server, 10)
            self.assertEqual(server.stop_frontend(signal.SIGKILL), -signal.SIGKILL)
            client.close()
            server.log.clear()
            server.start_frontend()
            depth_is(server, 0)
            server.worker.send_signal(signal.SIGUSR1)
            self.assertEqual(server.predict({"text": ["a"] * 256}).status, 200)


class Overload(unittest.TestCase):
    def test_without_a_free_slot_it_is_429_with_retry_after(self):
        with Server("--max-concurrent-requests", "8", worker_env={"FAKE_HOLD": "1"}) as server:
            first = Background(server, {"text": ["a"] * 7})
            depth_is(server, 7)
            refused = server.predict({"text": ["a", "b"]})
            self.assertEqual(refused.status, 429)
            self.assertEqual(refused.json(), documented_error(429))
            self.assertGreaterEqual(int(refused.headers["retry-after"]), 1)
            second = Background(server, {"text": "a"})
            depth_is(server, 8)
            self.assertEqual(server.predict({"text": "a"}).status, 429)
            server.worker.send_signal(signal.SIGUSR1)
            self.assertEqual((first.wait().status, second.wait().status), (200, 200))
            self.assertEqual(server.predict({"text": "a"}).status, 200)
            too_many = server.predict({"text": ["a"] * 9})
            self.assertEqual(too_many.status, 422)
            self.assertIn("the limit is 8", too_many.json()["error"])

    def test_a_wait_beyond_the_deadline_is_refused_before_it_costs_anything(self):
        with Server(worker_env={"FAKE_BATCH_MS": "20"}) as server:
            self.assertEqual(server.predict({"text": ["a"] * 20}).status, 200)
            busy = Background(server, {"text": ["a"] * 200})  # about 4 s of work
            eventually(lambda: metric(server, DEPTH) > 100, "a long queue")
            refused = server.predict({"text": "a"}, {"x-request-timeout-ms": "200"})
            self.assertEqual(refused.status, 429)
            self.assertIn("beyond this request's deadline", refused.json()["error"])
            self.assertIn(int(refused.headers["retry-after"]), range(1, 10))
            self.assertEqual(busy.wait().status, 200)


class Deadlines(unittest.TestCase):
    def test_a_deadline_that_passes_in_the_queue_is_504_and_frees_the_slots(self):
        with Server(worker_env={"FAKE_HOLD": "1"}) as server:
            began = time.monotonic()
            reply = server.predict({"text": ["a"] * 5}, {"x-request-timeout-ms": "150"})
            took = time.monotonic() - began
            self.assertEqual((reply.status, reply.json()), (504, documented_error(504)))
            self.assertGreaterEqual(took, 0.150)
            self.assertLess(took, 6)
            self.assertEqual(metric(server, DEPTH), 0)

    def test_the_setting_is_the_default(self):
        with Server("--request-timeout-ms", "100", worker_env={"FAKE_HOLD": "1"}) as server:
            self.assertEqual(server.predict({"text": "a"}).status, 504)

    def test_one_that_passes_while_it_runs_is_504_and_the_slot_comes_back(self):
        with Server(worker_env={"FAKE_BATCH_MS": "400"}) as server:
            late = server.predict({"text": "a"}, {"x-request-timeout-ms": "100"})
            self.assertEqual(late.status, 504)
            depth_is(server, 0)
            self.assertEqual(server.predict({"text": "a"}).status, 200)


class WorkerThatStaysAway(unittest.TestCase):
    """Runs late in this file, and its time begins before the first test."""

    @classmethod
    def begin(cls):
        cls.server = Server()
        unittest.addModuleCleanup(cls.server.__exit__)
        cls.server.stop_worker()

    def test_predict_is_503_once_the_worker_is_given_up(self):
        def asked():
            reply = self.server.predict({"text": "a"}, {"x-request-timeout-ms": "50"})
            self.assertIn(reply.status, (503, 504))
            return reply.status == 503 and reply

        reply = eventually(asked, "15 s without a worker")
        self.assertEqual(reply.json(), documented_error(503))
        self.assertGreaterEqual(int(reply.headers["retry-after"]), 1)
        self.server.start_worker()
        eventually(lambda: self.server.predict({"text": "a"}).status == 200, "it came after all")


def setUpModule():  # pylint: disable=invalid-name
    WorkerThatStaysAway.begin()


class WorkerTrouble(unittest.TestCase):
    def test_what_the_worker_could_not_compute_is_500(self):
        for status, words in [("poisoned", "workers died of it"), ("failed", "the encoder failed"),
                              ("invalid", "the encoder failed"),
                              ("nan", documented_error(500)["error"])]:
            with self.subTest(status=status), Server(worker_env={"FAKE_STATUS": status}) as server:
                reply = server.predict({"text": ["a", "b"]})
                self.assertEqual((reply.status, reply.json()["error_type"]), (500, "Backend"))
                self.assertIn(words, reply.json()["error"])
                depth_is(server, 0)

    def test_requests_wait_for_the_next_worker(self):
        with Server(worker_env={"FAKE_HOLD": "1"}) as server:
            waiting = [Background(server, {"text": ["a", "b"]}) for _ in range(10)]
            depth_is(server, 20)
            server.stop_worker()
            for path in ["/health", "/ready"]:
                reply = server.ask("GET", path)
                self.assertEqual((reply.status, reply.json()["status"]), (503, "unhealthy"))
                self.assertIn("not running", reply.json()["reason"])
            self.assertEqual(server.ask("GET", "/live").status, 200)
            late = Background(server, {"text": "late"})
            depth_is(server, 21)
            server.start_worker({"FAKE_HOLD": ""})
            for request in [*waiting, late]:
                self.assertEqual(request.wait().status, 200)
            health = server.ask("GET", "/health")
            self.assertEqual((health.status, health.json()["worker"]["epoch"]), (200, 2))

    def test_a_silent_worker_with_work_is_unhealthy(self):
        with Server("--hang-timeout-ms", "6000",  # a busy machine asks seconds after the start
                    worker_env={"FAKE_HOLD": "1", "FAKE_SILENT": "1"}) as server:
            self.assertEqual(server.ask("GET", "/health").status, 200)
            waiting = Background(server, {"text": "a"}, {"x-request-timeout-ms": "9000"})
            reply = eventually(lambda: (r := server.ask("GET", "/health")).status == 503 and r,
                               "unhealthy", 20)
            self.assertIn("heartbeat", reply.json()["reason"])
            self.assertEqual(waiting.wait().status, 504)

    def test_a_segment_of_another_shape_ends_the_frontend_cleanly(self):
        with Server(worker_env={"FAKE_HOLD": "1"}) as server:
            waiting = Background(server, {"text": "a"})
            depth_is(server, 1)
            server.stop_worker()
            flags, server.flags = server.flags, [*server.flags, "--max-concurrent-requests", "64"]
            server.start_worker({"FAKE_HOLD": ""})
            self.assertEqual(server.end_of_frontend(), 0)
            self.assertIn("replaced", server.text())
            reply = waiting.wait()
            self.assertEqual((reply.status, reply.headers["connection"]), (503, "close"))
            self.assertIn("retry-after", reply.headers)
            server.log.clear()
            server.flags = flags
            server.start_frontend()
            self.assertEqual(server.predict({"text": "a"}).status, 200)


class Drain(unittest.TestCase):
    def test_what_is_in_flight_is_answered_and_the_exit_is_clean(self):
        with Server("--drain-timeout-ms", "25000", worker_env={"FAKE_HOLD": "1"}) as server:
            keep, late = server.client(), server.client()  # these stay through the drain
            for client in [keep, late]:
                self.assertEqual(client.request("GET", "/ready").status, 200)
            waiting = [Background(server, {"text": "a"}) for _ in range(10)]
            depth_is(server, 10)
            server.frontend.send_signal(signal.SIGTERM)
            eventually(lambda: "draining" in server.text(), "it drains")
            late.send("POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n"
                      '{"text":"a"}')
            ready = keep.request("GET", "/ready")
            self.assertEqual((ready.status, ready.headers["connection"]), (503, "close"))
            keep.close()
            with self.assertRaises(ConnectionRefusedError):
                server.client()
            server.worker.send_signal(signal.SIGUSR1)
            for reply in [late.read(), *(request.wait() for request in waiting)]:
                self.assertEqual((reply.status, reply.headers["connection"]), (200, "close"))
            late.close()
            self.assertEqual(server.end_of_frontend(), 0)

    def test_idle_connections_are_let_go_and_half_sent_requests_served(self):
        with Server() as server:
            idle, half = server.client(), server.client()
            self.assertEqual(idle.request("GET", "/live").status, 200)
            half.send("GET /live HT")
            eventually(lambda: server.metrics()['weir_connections{lane="0"}'] == 3, "3 connections")
            server.frontend.send_signal(signal.SIGTERM)
            self.assertIsNone(idle.read())
            self.assertEqual(half.send("TP/1.1\r\nHost: x\r\n\r\n").read().status, 200)
            self.assertEqual(server.end_of_frontend(), 0)
            idle.close()
            half.close()

    def test_what_the_kernel_has_queued_is_served(self):
        with Server() as server:
            server.frontend.send_signal(signal.SIGSTOP)
            clients = [server.client() for _ in range(40)]
            for client in clients:
                client.send("GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
            server.frontend.send_signal(signal.SIGTERM)
            server.frontend.send_signal(signal.SIGCONT)
            for client in clients:
                self.assertEqual(client.read().status, 200)
                client.close()
            self.assertEqual(server.end_of_frontend(), 0)

    def test_a_drain_has_an_end(self):
        with Server("--drain-timeout-ms", "300", worker_env={"FAKE_HOLD": "1"}) as server:
            waiting = server.client().send("GET /live HT")
            began = time.monotonic()
            self.assertEqual(server.stop_frontend(), 0)
            self.assertLess(time.monotonic() - began, 5)
            self.assertIn("connections open", server.text())
            waiting.close()

    def test_under_load_no_request_fails(self):
        """Clients of the kind that read Connection: close and then connect anew."""
        with Server(worker_env={"FAKE_BATCH_MS": "1"}) as server:
            failures, answered, go_on = [], [], True

            def load():
                while go_on:
                    try:
                        client = server.client()
                    except ConnectionRefusedError:
                        return  # the port is closed: nothing was sent
                    with client:
                        reply = True
                        while reply and go_on:
                            reply = client.request("POST", "/predict", '{"text":"a"}', JSON)
                            (answered if reply and reply.status == 200 else failures).append(reply)
                            if reply and reply.headers["connection"] == "close":
                                reply = None

            threads = [threading.Thread(target=load) for _ in range(16)]
            for thread in threads:
                thread.start()
            eventually(lambda: len(answered) > 300, "some load")
            self.assertEqual(server.stop_frontend(), 0)
            go_on = False
            for thread in threads:
                thread.join()
            self.assertEqual(failures, [])


class Counting(unittest.TestCase):
    def test_requests_equal_answers_whatever_they_were(self):
        with Server("--client-timeout-ms", "500", "--request-timeout-ms", "1000",
                    worker_env={"FAKE_BATCH_MS": "20"}) as server:
            server.predict({"text": ["a"] * 3})
            server.predict({"text": ["a"] * 200})  # 504 by its deadline
            server.predict({"txt": 1})
            server.ask("GET", "/nowhere")
            server.ask("PUT", "/predict")
            server.ask("POST", "/predict", "{}", {"Content-Type": "image/png"})
            with server.client() as slow:
                self.assertEqual(slow.send("GET / HT").read().status, 408)
            with server.client() as broken:
                self.assertEqual(broken.send("\x01\r\n\r\n").read().status, 400)
            with server.client() as large:
                large.send("POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n")
                self.assertEqual(large.read().status, 413)
            depth_is(server, 0)
            series = server.metrics()
            answers = {k: v for k, v in series.items() if k.startswith("weir_responses_total")}
            # The scrape itself has been received and not yet answered.
            self.assertEqual(series["weir_requests_total"], sum(answers.values()) + 1)
            for code, at_least in [("2xx", 2), ("400", 2), ("404", 1), ("405", 1), ("408", 1),
                                   ("413", 1), ("415", 1), ("504", 1)]:
                self.assertGreaterEqual(answers[f'weir_responses_total{{code="{code}"}}'], at_least)
            self.assertEqual(series["weir_texts_total"], 203)
            self.assertEqual(series["weir_text_tokens_count"], 203)

    @unittest.skipIf(SANITIZED, "a sanitizer keeps freed memory on purpose")
    def test_memory_does_not_grow_with_requests(self):
        with Server() as server:
            def resident_kb():
                with open(f"/proc/{server.frontend.pid}/status", encoding="ascii") as file:
                    return int(next(l for l in file if l.startswith("VmRSS")).split()[1])

            def burst(n):
                raw = ("POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n"
                       '{"text":"abc"}' + "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n") * 50
                with server.client() as client:
                    for _ in range(n // 100):
                        client.send(raw)
                        for _ in range(100):
                            self.assertIn(client.read().status, (200, 404))

            burst(5000)
            before = resident_kb()
            burst(20000)
            self.assertLess(resident_kb() - before, 512)


class AccessLog(unittest.TestCase):
    def test_json_lines_are_what_cloud_logging_reads(self):
        with Server("--access-log", "--json-output") as server:
            parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            server.ask("GET", '/live?a="b"\\', headers={"traceparent": parent, "User-Agent": 'q"'})
            lines = lambda: [l for l in server.text().splitlines() if "httpRequest" in l]
            line = json.loads(eventually(lines, "a line")[0])
            self.assertEqual(list(line)[:4], ["severity", "time", "process", "message"])
            self.assertEqual((line["severity"], line["process"]), ("INFO", "frontend 0"))
            self.assertEqual(line["httpRequest"]["status"], 200)
            self.assertEqual(line["httpRequest"]["requestUrl"], '/live?a="b"\\')
            self.assertEqual(line["httpRequest"]["userAgent"], 'q"')
            self.assertEqual(line["httpRequest"]["remoteIp"], "127.0.0.1")
            self.assertEqual(line["logging.googleapis.com/trace"], parent[3:35])

    def test_a_request_that_was_refused_before_it_was_read_has_its_line(self):
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        ids = f"X-Request-Id: mine\r\ntraceparent: {parent}\r\nUser-Agent: curl\r\n"
        lengths = "Content-Length: 1\r\nContent-Length: 2\r\n"
        worst, quoted = '/"\xff' + '"' * 60000, '/"?' + '"' * 1021
        cases = [
            (f"POST /predict?a HTTP/1.1\r\nHost: x\r\n{ids}{lengths}\r\n",
             ("POST", "/predict?a", "curl", 400)),
            (f"{'G' * 60000} / HTTP/1.1\r\n\r\n", ("G" * 1024, "/", "", 400)),
            (f"GET {worst} HTTP/1.1\r\n\r\n", ("GET", quoted, "", 400)),
            (f"{'G' * 1025} {worst[:30000]} HTTP/1.1\r\nUser-Agent: {worst[:30000]}\r\n\r\n",
             ("G" * 1024, quoted, quoted, 400)),
            ("G\x01T / HTTP/1.1\r\n\r\n", ("", "", "", 400)),
            ("POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n",
             ("POST", "/predict", "", 413))]
        with Server("--access-log", "--json-output") as server:
            lines = lambda: [l for l in server.text().splitlines() if "httpRequest" in l]
            for n, (head, expected) in enumerate(cases):
                with Client(server.port) as client:
                    client.send(head.encode("latin-1"))
                    self.assertEqual(client.read().status, expected[-1])
                line = json.loads(eventually(lambda: lines()[n:], "a line")[0])
                told = line["httpRequest"]
                self.assertEqual((told["requestMethod"], told["requestUrl"], told["userAgent"],
                                  told["status"]), expected)
                self.assertEqual(told["remoteIp"], "127.0.0.1")
                self.assertEqual(line["process"], "frontend 0")
            first = json.loads(lines()[0])
            self.assertEqual(first["request_id"], "mine")
            self.assertEqual(first["logging.googleapis.com/trace"], parent[3:35])
            self.assertEqual(len(lines()), len(cases))

    def test_text_lines_are_for_people(self):
        with Server("--access-log") as server:
            server.ask("GET", "/nowhere")
            line = r"\dZ INFO frontend 0: 127\.0\.0\.1 GET /nowhere 404 "
            eventually(lambda: re.search(line, server.text()), "a line")


if __name__ == "__main__":
    failure_logs.main()
