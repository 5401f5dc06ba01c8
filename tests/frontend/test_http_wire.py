"""What arrives on the wire: framing, pipelining, limits, slow and vanishing clients.

The rows are the behaviour matrix of the HTTP library that we build on; where it is wrong or silent,
the row says what we do instead.
"""
import json
import random
import select
import signal
import socket
import struct
import time
import unittest

import failure_logs
from http_harness import JSON, Server, documented_error, eventually

BODY = '{"text":"good"}'


def predict_head(*headers, path="/predict"):
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *headers]) + "\r\n\r\n"


def whole_predict():
    return predict_head(f"Content-Length: {len(BODY)}") + BODY


def chunked(body, size):
    pieces = [body[i:i + size] for i in range(0, len(body), size)]
    return "".join(f"{len(p):x}\r\n{p}\r\n" for p in pieces) + "0\r\n\r\n"


class WithServer(unittest.TestCase):
    flags = ()
    worker_env = {}

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.flags, worker_env=cls.worker_env)
        cls.addClassCleanup(cls.server.__exit__)

    def expect_refusal(self, raw, status, words=""):
        """One error in the native envelope, and the connection ends."""
        with self.server.client() as client:
            reply = client.send(raw).read()
            self.assertIsNotNone(reply, raw)
            self.assertEqual(reply.status, status, (raw, reply))
            self.assertEqual(set(reply.json()), {"error", "error_type"})
            self.assertIn(words, reply.json()["error"])
            self.assertEqual(reply.headers["connection"], "close")
            self.assertIn("x-request-id", reply.headers)
            self.assertIn("date", reply.headers)
            self.assertTrue(client.is_closed())


class Framing(WithServer):
    def test_refusals_carry_the_requests_ids(self):
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        for headers, status in [(["Content-Length: 2000001"], 413), (["X : a"], 400),
                                (["Expect: tea", "Content-Length: 1"], 417)]:
            head = predict_head("X-Request-Id: a-1 ", f"Traceparent: {parent}", *headers)
            for raw in [head, head[:head.index("\r\n")] + "\r\nX-Request-Id:a-1" +
                        head[head.index("\r\n"):]]:
                with self.server.client() as client:
                    reply = client.send(raw).read()
                    self.assertEqual((reply.status, reply.headers["x-request-id"],
                                      reply.headers["traceparent"]), (status, "a-1", parent))
        with self.server.client() as client:
            bad = predict_head("X-Request-Id: two words", "Traceparent: x", "X : a")
            reply = client.send(whole_predict() + bad).read() and client.read()
            self.assertRegex(reply.headers["x-request-id"], "^[0-9a-f]{32}$")
            self.assertNotIn("traceparent", reply.headers)

    def test_conflicting_framing_headers_are_refused(self):
        smuggled = "GET /live HTTP/1.1\r\nHost: x\r\n\r\n"
        for headers in [["Content-Length: 5", "Transfer-Encoding: chunked"],
                        ["Transfer-Encoding: chunked", "Content-Length: 5"],
                        ["Content-Length: 3", "Content-Length: 5"],
                        ["Content-Length: 5", "Content-Length: 5"],
                        ["content-length: 5", "CONTENT-LENGTH: 5"],
                        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
                        ["Transfer-Encoding: gzip, chunked"], ["Transfer-Encoding: identity"],
                        ["Transfer-Encoding: chunked, identity"], ["Content-Length: 3, 3"],
                        ["Content-Length: +3"], ["Content-Length: -1"], ["Content-Length: 0x3"],
                        ["Content-Length: "], ["Content-Length: 99999999999999999999"],
                        ["Content-Length : 5"], ["X: a", " folded"], ["X: a", "\tfolded"],
                        [" X: a"], ["X: a\x01b"], ["X\x00: a"], ["no colon here"], [": empty"],
                        ["Host: again"], ["X: y"] * 101, ["X: " + "y" * 70000]]:
            with self.subTest(headers=headers[:2]):
                self.expect_refusal(predict_head(*headers) + "0\r\n\r\n" + smuggled, 400)

    def test_a_refused_pipelined_head_is_refused_too(self):
        with self.server.client() as client:
            bad = predict_head("Content-Length: 5", "Transfer-Encoding: chunked") + "0\r\n\r\n"
            client.send(whole_predict() + bad)
            self.assertEqual(client.read().status, 200)
            reply = client.read()
            self.assertEqual((reply.status, reply.headers["connection"]), (400, "close"))
            self.assertIn("exclude each other", reply.json()["error"])
            self.assertTrue(client.is_closed())

    def test_what_is_not_http_is_refused(self):
        for raw in ["\x16\x03\x01\x02\x00\x01\x00", "GET /live\r\n\r\n",
                    "GET /live HTTP/1.2\r\n\r\n", "GET /live HTTP/2.0\r\n\r\n",
                    "GET  /live HTTP/1.1\r\n\r\n", "HELO x\r\n",
                    "GET /live HTTP/1.1\r\n\r\n", "GET /live HTTP/1.1\nHost: x\n\n",
                    "GET /live HTTP/1.1\r\nHost: x\n\r\n",
                    "\r\n\r\nGET /live HTTP/1.1\r\n\r\n",
                    "G\x00T /live HTTP/1.1\r\n\r\n", " GET /live HTTP/1.1\r\n\r\n"]:
            with self.subTest(raw=raw):
                self.expect_refusal(raw.encode("latin-1"), 400)

    def test_http_1_0_and_a_leading_empty_line_are_served(self):
        with self.server.client() as client:
            self.assertEqual(client.send("GET /live HTTP/1.0\r\n\r\n").read().status, 200)
            self.assertTrue(client.is_closed())
        with self.server.client() as client:
            client.send("GET /live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            self.assertEqual(client.read().headers["connection"], "keep-alive")
            client.send("\r\nGET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            self.assertEqual(client.read().status, 200)
            self.assertTrue(client.is_closed())

    def test_chunked_bodies_are_read_whatever_their_pieces(self):
        with self.server.client() as client:
            for size in [1, 2, 7, 100]:
                client.send(predict_head("Transfer-Encoding: Chunked") + chunked(BODY, size))
                self.assertEqual(client.read().status, 200)
            extended = f"{len(BODY):X};name=value\r\n{BODY}\r\n0\r\nTrailer: dropped\r\n\r\n"
            client.send(predict_head("Transfer-Encoding: chunked") + extended)
            self.assertEqual(client.read().status, 200)
        self.expect_refusal(predict_head("Transfer-Encoding: chunked") + "xyz\r\n", 400)

    def refuse_chunks(self, raw, status, words):
        """Refused at once: with the head, after it, after a 100, and behind another request."""
        head = predict_head("Transfer-Encoding: chunked")
        self.expect_refusal(head + raw, status, words)
        asking = predict_head("Transfer-Encoding: chunked", "Expect: 100-continue")
        for first, statuses, rest in [
                (head, [], raw), (asking, [100], raw), (whole_predict() + head, [200], raw),
                (whole_predict() + head + raw, [200], ""),
                (head + chunked(BODY, 4) + head + raw[:3], [200], raw[3:])]:
            with self.subTest(first=first), self.server.client() as client:
                client.send(first)
                self.server.ask("GET", "/live")  # by then the first part was read
                for expected in statuses:
                    self.assertEqual(client.read().status, expected)
                reply = client.send(rest).read()
                self.assertEqual((reply.status, reply.headers["connection"]), (status, "close"))
                self.assertIn(words, reply.json()["error"])
                self.assertTrue(client.is_closed())

    def test_chunks_that_a_proxy_could_read_differently_are_refused(self):
        smuggled = "GET /live HTTP/1.1\r\nHost: x\r\n\r\n"
        for raw, words in [(f"f\n{BODY}\r\n0\r\n\r\n", "hexadecimal"),
                           (f"f;a\n{BODY}\r\n0\r\n\r\n", "control character"),
                           (f"f\r\n{BODY}\n0\r\n\r\n", "longer than"),
                           (f"f\r\n{BODY}\r\n0\n\r\n", "hexadecimal"),
                           (f"f\r\n{BODY}\r\n0\r\n\n", "NAME: VALUE"),
                           (f"f\r\n{BODY}\r\n0\r\nA: b\n\r\n", "control character")]:
            self.refuse_chunks(raw + smuggled, 400, words)

    def test_a_chunk_too_large_is_refused_when_it_is_announced(self):
        for size in ["ffffffffffffffff", "7fffffffffffffff", "1e8481"]:
            self.refuse_chunks(size + "\r\n", 413, "--payload-limit")

    def test_trailers_without_end_are_refused(self):
        self.refuse_chunks(f"f\r\n{BODY}\r\n0\r\n" + "A: b\r\n" * 4000, 400, "trailers")

    def test_white_space_around_a_value_is_no_part_of_it(self):
        with self.server.client() as client:
            for framing in [f"Content-Length: {len(BODY)} ", f"Content-Length:\t{len(BODY)}\t \t"]:
                client.send(predict_head("Accept: */* ", framing) + BODY)
                self.assertEqual(client.read().status, 200, framing)
            client.send(predict_head("Transfer-Encoding: chunked ") + chunked(BODY, 4))
            self.assertEqual(client.read().status, 200)
            client.send(whole_predict() + predict_head(f"Content-Length: {len(BODY)} ") + BODY)
            self.assertEqual((client.read().status, client.read().status), (200, 200))
            client.send(predict_head(f"Content-Length: {len(BODY)}", "Expect: 100-continue\t"))
            self.assertEqual(client.read().status, 100)

    def test_a_request_that_ends_in_its_middle_is_400(self):
        for raw in ["GET /li", predict_head("Content-Length: 100") + "{",
                    predict_head("Transfer-Encoding: chunked") + "5\r\nab"]:
            for before in ["", whole_predict()]:
                with self.server.client() as client:
                    client.send(before + raw)
                    client.socket.shutdown(socket.SHUT_WR)
                    if before:
                        self.assertEqual(client.read().status, 200)
                    reply = client.read()
                    self.assertEqual((reply.status, reply.headers["connection"]), (400, "close"))
                    self.assertIn("ended in the middle", reply.json()["error"])
                    self.assertTrue(client.is_closed())
        with self.server.client() as client:
            client.socket.shutdown(socket.SHUT_WR)
            self.assertIsNone(client.read())

    def test_requests_may_arrive_a_byte_at_a_time(self):
        with self.server.client() as client:
            for raw in [whole_predict(), predict_head("Transfer-Encoding: chunked") +
                        chunked(BODY, 4)]:
                for byte in raw:
                    client.send(byte)
                self.assertEqual(client.read().status, 200)

    def test_pipelined_requests_are_answered_in_order(self):
        with self.server.client() as client:
            raw = ""
            for i in range(50):
                body = json.dumps({"text": "word " * (i % 7)})
                raw += predict_head(f"Content-Length: {len(body)}", f"X-Request-Id: {i}") + body
                raw += f"GET /nowhere HTTP/1.1\r\nHost: x\r\nX-Request-Id: n{i}\r\n\r\n"
            client.send(raw)
            for i in range(50):
                reply = client.read()
                self.assertEqual((reply.status, reply.headers["x-request-id"]), (200, str(i)))
                reply = client.read()
                self.assertEqual((reply.status, reply.headers["x-request-id"]), (404, f"n{i}"))

    def test_expect_100_continue(self):
        with self.server.client() as client:
            head = predict_head(f"Content-Length: {len(BODY)}", "Expect: 100-continue")
            self.assertEqual(client.send(head).read().status, 100)
            self.assertEqual(client.send(BODY).read().status, 200)
        self.expect_refusal(predict_head("Content-Length: 5", "Expect: tea"), 417)
        with self.server.client() as client:  # RFC 9110 section 10.1.1: ignored in HTTP/1.0
            old = predict_head(f"Content-Length: {len(BODY)}", "Expect: 100-continue")
            self.assertEqual(client.send(old.replace("1.1", "1.0") + BODY).read().status, 200)
        self.expect_refusal(predict_head("Content-Length: 2000001", "Expect: 100-continue"), 413)

    def test_a_target_may_be_a_whole_url(self):
        """RFC 9112 section 3.2.2: a server must accept the absolute form."""
        with self.server.client() as client:
            for prefix in ["http://x", "https://x:8443", "HTTP://127.0.0.1", "http://[::1]:80",
                           "http://u@x", "http://other"]:
                path = prefix + "/predict"
                raw = predict_head(f"Content-Length: {len(BODY)}", path=path) + BODY
                self.assertEqual(client.send(raw).read().status, 200, path)
            for target, status in [("http://x/live?a=/b", 200), ("http://x", 200),
                                   ("http://x/", 200), ("http://x?a=/live", 200),
                                   ("http://x/a/../live", 200), ("http://x/%6cive", 200),
                                   ("http://x//live", 404), ("http://x/nowhere", 404),
                                   ("http://x/predict", 405), ("http:///live", 400),
                                   ("http://", 400), ("http:/live", 404), ("ftp://x/live", 404),
                                   ("/http://x/live", 404)]:
                reply = client.request("GET", target)
                self.assertEqual(reply.status, status, target)

    def test_http2_is_off(self):
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
        self.expect_refusal(preface, 400, "--h2c")
        with self.server.client() as client:
            reply = client.request("GET", "/live", headers={
                "Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c",
                "HTTP2-Settings": "AAMAAABk"})
            self.assertEqual(reply.status, 200)


class Limits(WithServer):
    flags = ("--payload-limit", "1000", "--max-connections", "20")

    def body_of(self, size):
        return '{"text":"' + "a" * (size - len('{"text":""}')) + '"}'

    def test_the_payload_limit_is_exact_for_both_framings(self):
        for size, status in [(999, 200), (1000, 200), (1001, 413), (1002, 413)]:
            body = self.body_of(size)
            with self.server.client() as client:
                reply = client.request("POST", "/predict", body, JSON)
                self.assertEqual(reply.status, status, (size, reply))
            for piece in [1000, 17]:
                with self.server.client() as client:
                    client.send(predict_head("Transfer-Encoding: chunked") + chunked(body, piece))
                    reply = client.read()
                    self.assertEqual(reply.status, status, (size, piece, reply))
                    if status == 413:
                        self.assertEqual(set(reply.json()), {"error", "error_type"})

    def test_a_client_in_the_middle_of_a_large_body_still_reads_its_413(self):
        for head in [predict_head("Content-Length: 8000000"),
                     predict_head("Transfer-Encoding: chunked") + "7a1200\r\n"]:
            with self.server.client() as client:
                client.send(head)
                try:
                    client.send(b"a" * 8000000)
                except ConnectionError:
                    pass  # the lingering has its limit; the answer must be there all the same
                self.assertEqual(client.read().status, 413)

    def test_connections_over_the_limit_wait_in_the_kernel(self):
        clients = [self.server.client() for _ in range(25)]
        try:
            for client in clients:
                client.send("GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
            for client in clients[:20]:
                self.assertEqual(client.read().status, 200)
            self.assertEqual(select.select([c.socket for c in clients[20:]], [], [], 0.2)[0], [])
            for client in clients[:20]:
                client.close()
            for client in clients[20:]:
                self.assertEqual(client.read().status, 200)
        finally:
            for client in clients:
                client.close()


class FewDescriptors(unittest.TestCase):
    def test_the_hard_limit_bounds_the_connections(self):
        with Server(prefix=["prlimit", "--nofile=330:330"]) as server:
            self.assertIn("at most 10 connections", server.text())
            clients = [server.client() for _ in range(15)]
            for client in clients:
                client.send("GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
            for client in clients[:10]:
                self.assertEqual(client.read().status, 200)
                client.close()
            for client in clients[10:]:
                self.assertEqual(client.read().status, 200)
                client.close()


class SlowClients(WithServer):
    flags = ("--client-timeout-ms", "300")

    def test_a_head_or_body_that_does_not_come_is_408(self):
        for raw in ["GET /live HT", predict_head("Content-Length: 100") + "{",
                    predict_head("Transfer-Encoding: chunked") + "5\r\nab"]:
            began = time.monotonic()
            self.expect_refusal(raw, 408, documented_error(408)["error"])
            self.assertLess(time.monotonic() - began, 5)

    def test_a_byte_now_and_then_does_not_buy_time(self):
        with self.server.client() as client:
            raw, began = iter(predict_head("Content-Length: 1000") + "{" * 1000), time.monotonic()
            while not select.select([client.socket], [], [], 0.03)[0]:
                client.send(next(raw))
            self.assertEqual(client.read().status, 408)
            self.assertLess(time.monotonic() - began, 5)

    def test_an_idle_connection_is_closed_without_an_answer(self):
        with self.server.client() as client:
            self.assertIsNone(client.read())
        with self.server.client() as client:
            self.assertEqual(client.request("GET", "/live").status, 200)
            self.assertIsNone(client.read())

    def test_a_reader_that_takes_nothing_is_cut_off(self):
        body = json.dumps({"inputs": "a " * 100000})
        with self.server.client() as client:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            head = f"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            client.send(head + body)
            connections = 'weir_connections{lane="0"}'
            eventually(lambda: self.server.metrics()[connections] == 1, "the reader was cut off")


class VanishingClients(WithServer):
    worker_env = {"FAKE_HOLD": "1"}

    def depth(self):
        return self.server.metrics()['weir_lane_depth{lane="0"}']

    def test_what_a_vanished_client_had_queued_is_withdrawn(self):
        gone = 'weir_responses_total{code="499"}'
        before = self.server.metrics()[gone]
        clients = [self.server.client() for _ in range(20)]
        for client in clients:
            body = json.dumps({"text": ["a", "b", "c"]})
            client.send(predict_head(f"Content-Length: {len(body)}") + body)
        eventually(lambda: self.depth() == 60, "60 texts are queued")
        for i, client in enumerate(clients):
            if i % 2:
                client.reset()
            else:
                client.close()
        eventually(lambda: self.depth() == 0, "the lane is empty again")
        eventually(lambda: self.server.metrics()[gone] == before + 20, "20 counted as gone")

    def test_pipelined_bytes_are_not_taken_for_an_absence(self):
        with self.server.client() as client:
            client.send(whole_predict() + whole_predict()[:40])
            eventually(lambda: self.depth() == 1, "it is queued")
            self.assertEqual(select.select([client.socket], [], [], 0.5)[0], [])
            self.assertEqual(self.depth(), 1)
        eventually(lambda: self.depth() == 0, "it is withdrawn")


class HalfClosingClients(WithServer):
    worker_env = {"FAKE_HOLD": "1"}

    def depth(self):
        return self.server.metrics()['weir_lane_depth{lane="0"}']

    def test_a_client_that_only_stops_sending_gets_its_answer(self):
        before = self.server.metrics()['weir_responses_total{code="499"}']
        with self.server.client() as client, self.server.client() as old:
            client.send(whole_predict())
            client.socket.shutdown(socket.SHUT_WR)
            old.send(f"POST /predict HTTP/1.0\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}")
            old.socket.shutdown(socket.SHUT_WR)
            self.assertEqual(client.read().status, 100)  # asks whether anybody is there
            self.assertIsNone(old.read())  # such a one cannot be asked
            eventually(lambda: self.depth() == 1, "one is withdrawn")
            self.assertEqual(select.select([client.socket], [], [], 0.5)[0], [])
            self.server.worker.send_signal(signal.SIGUSR1)
            self.assertEqual(client.read().status, 200)
            self.assertTrue(client.is_closed())
        after = self.server.metrics()['weir_responses_total{code="499"}']
        self.assertEqual(after, before + 1)


class ManyConnections(WithServer):
    def test_a_thousand_at_once_are_all_answered(self):
        clients = [self.server.client() for _ in range(1000)]
        try:
            for client in clients:
                client.send(whole_predict())
            for client in clients:
                self.assertEqual(client.read().status, 200)
            self.assertGreaterEqual(self.server.metrics()['weir_connections{lane="0"}'], 1000)
        finally:
            for client in clients:
                client.close()
        eventually(lambda: self.server.metrics()['weir_connections{lane="0"}'] == 1, "all are gone")


class LateClients(WithServer):
    flags = ("--client-timeout-ms", "2000")  # a busy machine wakes us late, but not by a second

    def test_a_request_late_in_the_idle_time_has_its_own_time(self):
        with self.server.client() as client:
            raw = whole_predict()
            for _ in range(2):  # idle 1.1 s, sending 1.1 s: more than 2 s together, each time
                select.select([client.socket], [], [], 1.1)
                client.send(raw[:30])
                select.select([client.socket], [], [], 1.1)
                self.assertEqual(client.send(raw[30:]).read().status, 200)


class Garbage(WithServer):
    flags = ("--client-timeout-ms", "100")

    def mutate(self, dice, raw):
        raw = bytearray(raw)
        for _ in range(dice.randint(1, 4)):
            place = dice.randrange(len(raw))
            choice = dice.randrange(4)
            if choice == 0:
                raw[place] = dice.randrange(256)
            elif choice == 1:
                del raw[place:place + dice.randint(1, 10)]
            elif choice == 2:
                raw[place:place] = raw[dice.randrange(len(raw)):][:dice.randint(1, 30)]
            else:
                raw[place:place] = dice.choice([b"\r\n", b"\n", b"\0", b":", b" ", b"9" * 20])
            raw = raw or bytearray(b"x")
        return bytes(raw)

    def test_broken_requests_break_nothing(self):
        seed = random.randrange(1 << 32)
        print("seed", seed)
        dice = random.Random(seed)
        good = [whole_predict().encode(),
                (predict_head("Transfer-Encoding: chunked") + chunked(BODY, 5)).encode(),
                b"GET /health HTTP/1.1\r\nHost: x\r\nAccept: */*;q=0.5\r\n\r\n",
                predict_head("Content-Type: application/msgpack", "Content-Length: 11").encode() +
                b"\x81\xa4text\xa4good"]
        for _ in range(600):
            with self.server.client() as client:
                pieces = [self.mutate(dice, raw) for raw in dice.choices(good, k=2)]
                try:
                    client.send(b"".join(pieces))
                    if dice.random() < 0.5:
                        client.read()
                except (ConnectionError, ValueError, IndexError):
                    pass
        self.assertEqual(self.server.predict({"text": "a"}).status, 200)
        eventually(self.all_is_counted, "every request was answered or counted as gone")

    def all_is_counted(self):
        series = self.server.metrics()
        answers = sum(v for k, v in series.items() if k.startswith("weir_responses_total"))
        return series["weir_requests_total"] == answers + 1 and \
            series['weir_lane_depth{lane="0"}'] == 0 and series['weir_connections{lane="0"}'] == 1


class Http2(WithServer):
    """--h2c: by prior knowledge. Just enough of RFC 9113 to ask one question."""
    flags = ("--h2c",)

    def frame(self, kind, flags, stream, payload):
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + \
            struct.pack(">I", stream) + payload

    def literal(self, name, value):
        return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value

    def read_frames(self, client):
        while True:
            head = client.file.read(9)
            if len(head) < 9:
                return
            size = int.from_bytes(head[:3], "big")
            yield head[3], head[4], client.file.read(size)

    def test_a_prediction_over_http2(self):
        headers = b"".join(self.literal(n, v) for n, v in [
            (b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"x"),
            (b":path", b"/predict"), (b"content-type", b"application/json")])
        with self.server.client() as client:
            client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(4, 0, 0, b"") +
                        self.frame(1, 4, 1, headers) + self.frame(0, 1, 1, BODY.encode()))
            body = b""
            for kind, flags, payload in self.read_frames(client):
                if kind == 0:
                    body += payload
                    if flags & 1:
                        break
            self.assertIn("prediction", json.loads(body))

    def test_http1_is_served_beside_it(self):
        self.assertEqual(self.server.predict({"text": "a"}).status, 200)
        self.assertEqual(self.server.ask("GET", "/live", headers={"Upgrade": "h2c"}).status, 200)

    def test_a_reset_stream_gives_its_slots_back(self):
        headers = b"".join(self.literal(n, v) for n, v in [
            (b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"x"),
            (b":path", b"/predict")])
        with self.server.client() as client:
            client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(4, 0, 0, b""))
            for stream in range(1, 41, 2):
                client.send(self.frame(1, 4, stream, headers) +
                            self.frame(0, 1, stream, BODY.encode()) +
                            self.frame(3, 0, stream, b"\0\0\0\x08"))
        depth = 'weir_lane_depth{lane="0"}'
        eventually(lambda: self.server.metrics()[depth] == 0, "no slot is held")
        self.assertEqual(self.server.predict({"text": "a"}).status, 200)


if __name__ == "__main__":
    failure_logs.main()
