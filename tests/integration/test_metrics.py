"""What a running server prints at /metrics: the format, that docs/metrics.md says all of it, and
that its numbers are those that the clients counted, whoever dies."""
import collections
import json
import os
import random
import re
import signal
import sys
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "frontend")]
import prometheus  # noqa: E402
import harness  # noqa: E402
from harness import BIN, SOURCE, Supervisor, eventually  # noqa: E402
from http_harness import JSON, Client, get  # noqa: E402
from load import Load  # noqa: E402

MODEL = os.path.join(SOURCE, "models/tiny-sst2")


def scrape(port):
    reply = get(port, "/metrics")
    assert reply.status == 200, reply
    return prometheus.parse(reply.body.decode())


class Documents:
    """docs/metrics.md, table by table: rows of cells, backticks left out, by heading."""

    def __init__(self):
        with open(os.path.join(SOURCE, "docs/metrics.md"), encoding="utf-8") as file:
            sections = re.split(r"^## ", file.read(), flags=re.MULTILINE)[1:]
        self.tables = {}
        for section in sections:
            rows = re.findall(r"^\|(.+)\|$", section, re.MULTILINE)[2:]
            self.tables[section.split("\n")[0]] = [
                [cell.strip().strip("`") for cell in row.split("|")] for row in rows]

    def families(self):
        """(family, type, names of labels, help)"""
        for series, text in self.tables["Counters"]:
            family, _, labels = series.rstrip("}").partition("{")
            yield family, "counter", frozenset(re.findall(r"(\w+)=", labels)), text
        for family, _, text in self.tables["Histograms"]:
            yield family, "histogram", frozenset(["le"]), text
        for family, labels, text in self.tables["Gauges"]:
            yield family, "gauge", frozenset(re.findall(r"\w+", labels)), text

    def values(self):
        """(family, label, value) where the page lists the values."""
        for series, _ in self.tables["Counters"]:
            for label, value in re.findall(r'(\w+)="(\w+)"', series):
                yield series.partition("{")[0], label, value
        for phase, _ in self.tables["Phases of the worker's start"]:
            yield "weir_start_phase_seconds", "phase", phase


def start(test, *flags, frontends=2):
    env = {"WEIR_BIN": BIN, "MODEL_ID": MODEL, "BACKEND": "cpu"}
    server = Supervisor("--frontends", str(frontends), *flags, env=env)
    test.addCleanup(server.__exit__)
    return server


class MetricsTest(unittest.TestCase):
    def test_the_page_tells_of_what_a_server_prints_and_of_nothing_else(self):
        families = scrape(start(self).port)
        page = Documents()
        printed, printed_values = set(), set()
        for family in families.values():
            labels = {frozenset(name for name, _ in sample.labels) for sample in family.samples}
            if family.type == "histogram":
                labels -= {frozenset()}  # those of _sum and _count
            self.assertEqual(len(labels), 1, family.name)
            printed.add((family.name, family.type, *labels, family.help))
            printed_values |= {(family.name, *pair) for sample in family.samples
                               for pair in sample.labels if pair[0] in ("code", "phase")}
        self.assertEqual(printed, set(page.families()))
        self.assertEqual(printed_values, set(page.values()))


GAUGE = "# HELP a Is a.\n# TYPE a gauge\n"
HISTOGRAM = "# HELP h Is h.\n# TYPE h histogram\n"
BUCKETS = 'h_bucket{le="1"} 2\nh_bucket{le="3"} 3\nh_bucket{le="+Inf"} 4\n'


class ReaderTest(unittest.TestCase):
    """The reader of these tests refuses what it should."""

    def test_good_texts_are_read(self):
        families = prometheus.parse(
            GAUGE + 'a{b="\\"\\\\\\n",c=""} NaN\n' + HISTOGRAM + BUCKETS + "h_sum 9\nh_count 4\n")
        (sample,) = families["a"].samples
        self.assertEqual(sample.labels, (("b", '"\\\n'), ("c", "")))
        self.assertEqual(len(families["h"].samples), 5)

    def test_bad_texts_are_refused(self):
        end = "h_sum 9\nh_count 4\n"
        for text in ("a 1\n", GAUGE, GAUGE + "a 1", GAUGE + "a  1\n", GAUGE + "a 1\na 2\n",
                     GAUGE + "b 1\n", GAUGE + "a 1\n" + GAUGE + "a 2\n", GAUGE + "a{b=1} 1\n",
                     GAUGE + 'a{b="1",} 1\n', GAUGE + 'a{b="1"c="2"} 1\n', GAUGE + 'a{b=""x""} 1\n',
                     GAUGE + 'a{b="1",b="2"} 1\n', GAUGE + "a x\n", GAUGE + "a_sum 1\n",
                     "# TYPE a gauge\na 1\n", "# HELP a Is a.\na 1\n", GAUGE + "\na 1\n",
                     GAUGE.replace("gauge", "gouge") + "a 1\n", HISTOGRAM + end,
                     HISTOGRAM + BUCKETS + "h_sum 9\nh_count 5\n",
                     HISTOGRAM + BUCKETS + "h_count 4\n",
                     HISTOGRAM + BUCKETS.replace('"3"', '"0.5"') + end,
                     HISTOGRAM + BUCKETS.replace("} 3", "} 1") + end,
                     HISTOGRAM + BUCKETS.replace("+Inf", "5") + end,
                     GAUGE.replace("gauge", "counter") + "a -1\n"):
            with self.subTest(text=text), self.assertRaises((AssertionError, ValueError, KeyError)):
                prometheus.parse(text)


# ---- the numbers ----

N_CLIENTS, N_REQUESTS = 6, 50
PAYLOAD_LIMIT = 50000
WORDS = ["movie", "good", "bad", "film"]  # a token each; a text has two more
N_TOKENS_MAX = 512
ROUNDING_S = 0.5e-6  # of a time in Server-Timing


class Numbers:
    """A scrape. Itself it is a request that has no answer yet."""

    def __init__(self, port):
        self.families = scrape(port)

    def __getitem__(self, name):
        """A counter's value, over all labels; of a histogram NAME_sum or NAME_count."""
        family = self.families.get(name) or self.families[name.rpartition("_")[0]]
        return sum(value for sample, value in family.samples.items() if sample.name == name)

    def code(self, code):
        sample = prometheus.Sample("weir_responses_total", (("code", code),))
        return self.families["weir_responses_total"].samples[sample]

    def settled(self):
        """Whether all requests, but for this one, have an outcome."""
        return self["weir_requests_total"] == self["weir_responses_total"] + 1


class Account:
    """One client's requests, and what became of them."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.n = collections.Counter()  # statuses; texts, tokens, truncated, parsed, tokenized
        self.seconds = collections.Counter()  # of Server-Timing

    def ask(self, client, method, path, body, headers, status):
        reply = client.request(method, path, body, headers)
        assert reply and reply.status == status, (method, path, str(body)[:60], reply)
        self.n["2xx" if status == 200 else str(status)] += 1
        for name, ms in re.findall(r"(\w+);dur=([0-9.]+)", reply.headers.get("server-timing", "")):
            self.seconds[name] += float(ms) / 1000
        return "close" not in reply.headers.get("connection", "")

    def texts(self, n_texts, n_words):
        self.n["texts"] += n_texts
        self.n["truncated"] += n_texts * (n_words + 2 > N_TOKENS_MAX)
        self.n["tokens"] += n_texts * min(n_words + 2, N_TOKENS_MAX)
        self.n["parsed"] += 1
        self.n["tokenized"] += 1
        return [" ".join(self.random.choices(WORDS, k=n_words)) for _ in range(n_texts)]

    def one(self, client):
        (text,) = self.texts(1, self.random.randint(1, 40))
        return self.ask(client, "POST", "/predict", json.dumps({"text": text}), JSON, 200)

    def several(self, client):
        body = {"text": self.texts(self.random.randint(1, 8), self.random.randint(1, 40))}
        return self.ask(client, "POST", "/predict", json.dumps(body), JSON, 200)

    def long(self, client):
        body = {"text": self.texts(1, 700)}
        return self.ask(client, "POST", "/predict", json.dumps(body), JSON, 200)

    def too_long(self, client):
        self.n["parsed"] += 1
        body = {"text": "movie " * 700, "truncate": False}
        return self.ask(client, "POST", "/predict", json.dumps(body), JSON, 422)

    def malformed(self, client):
        self.n["parsed"] += 1
        return self.ask(client, "POST", "/predict", "{", JSON, 400)

    def too_large(self, client):
        return self.ask(client, "POST", "/predict", "x" * (PAYLOAD_LIMIT + 1), JSON, 413)

    def odd_media(self, client):
        return self.ask(client, "POST", "/predict", "{}", {"Content-Type": "image/png"}, 415)

    def nowhere(self, client):
        return self.ask(client, "GET", "/nowhere", None, None, 404)

    def odd_method(self, client):
        return self.ask(client, "DELETE", "/predict", None, None, 405)

    def health(self, client):
        return self.ask(client, "GET", "/health", None, None, 200)

    def run(self, port, kinds):
        client = Client(port)
        for kind in self.random.choices(kinds, k=N_REQUESTS):
            if not kind(self, client):
                client.close()
                client = Client(port)
        client.close()


ALL_KINDS = [Account.one, Account.several, Account.long, Account.too_long, Account.malformed,
             Account.too_large, Account.odd_media, Account.nowhere, Account.odd_method,
             Account.health]


def run_accounts(port, kinds):
    """Several clients at once; (sum of their counts, sum of their times)"""
    accounts = [Account(seed) for seed in range(N_CLIENTS)]
    done = []

    def run(account):
        account.run(port, kinds)
        done.append(account)

    threads = [threading.Thread(target=run, args=(account,)) for account in accounts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == N_CLIENTS, "a client failed: its thread says why"
    return (sum((account.n for account in accounts), collections.Counter()),
            sum((account.seconds for account in accounts), collections.Counter()))


class AccountTest(unittest.TestCase):
    def test_counts_are_those_of_the_clients(self):
        server = start(self, "--payload-limit", str(PAYLOAD_LIMIT))
        n, _ = run_accounts(server.port, ALL_KINDS)
        numbers = Numbers(server.port)
        self.assertEqual(numbers["weir_requests_total"], N_CLIENTS * N_REQUESTS + 1)
        self.assertTrue(numbers.settled())
        for sample, value in numbers.families["weir_responses_total"].samples.items():
            code = dict(sample.labels)["code"]
            self.assertEqual(value, n[code], code)
        for name, expected in (
                ("texts_total", "texts"), ("tokens_total", "tokens"),
                ("texts_truncated_total", "truncated"), ("text_tokens_sum", "tokens"),
                ("text_tokens_count", "texts"), ("parse_seconds_count", "parsed"),
                ("tokenize_seconds_count", "tokenized"), ("queue_seconds_count", "texts"),
                ("encode_seconds_count", "texts"), ("batch_texts_total", "texts"),
                ("batch_tokens_total", "tokens"), ("batch_size_texts_sum", "texts"),
                ("batch_size_tokens_sum", "tokens")):
            self.assertEqual(numbers["weir_" + name], n[expected], name)
        batches = numbers["weir_batches_total"]
        self.assertEqual(numbers["weir_batch_size_texts_count"], batches)
        self.assertEqual(numbers["weir_batch_size_tokens_count"], batches)
        # What is refused by its head never becomes a request of libh2o's, and is not timed.
        self.assertEqual(numbers["weir_request_seconds_count"], sum(
            n[code] for code in ("2xx", "400", "404", "405", "415", "422")))
        for name in ("expired", "replayed", "poisoned", "bad"):
            self.assertEqual(numbers[f"weir_texts_{name}_total"], 0, name)

    def test_times_are_those_that_the_answers_told(self):
        """Of requests with one text, Server-Timing has the very times that histograms count."""
        server = start(self)
        n, seconds = run_accounts(server.port, [Account.one])
        numbers = Numbers(server.port)
        for name in ("parse", "tokenize", "queue", "encode"):
            self.assertGreater(seconds[name], 0)
            self.assertAlmostEqual(numbers[f"weir_{name}_seconds_sum"], seconds[name],
                                   delta=n["texts"] * ROUNDING_S + 1e-9, msg=name)
        self.assertGreater(numbers["weir_request_seconds_sum"], sum(seconds.values()) * 0.99)

    def test_killed_workers_lose_no_count(self):
        server = start(self)
        load = Load(server.port, texts=["good movie", "bad movie", "bad film"]).start()
        self.addCleanup(load.stop)
        for _ in range(3):
            load.wait_until_ok(50)
            os.kill(server.worker(), signal.SIGKILL)
            server.expect_log("worker 1 ended with SIGKILL")
        load.wait_until_ok(50)
        load.stop()
        self.assertEqual(load.failures, [])
        numbers = Numbers(server.port)
        self.assertTrue(numbers.settled())
        self.assertEqual(numbers.code("2xx"), load.n_ok)
        self.assertEqual(numbers["weir_texts_total"], load.n_ok)
        self.assertEqual(numbers["weir_tokens_total"], 4 * load.n_ok)
        self.assertEqual(numbers["weir_worker_starts_total"], 4)
        self.assertEqual(numbers["weir_worker_epoch"], 4)
        # What ran when a worker died may be counted, and is again when it runs again.
        most = load.n_ok + numbers["weir_texts_replayed_total"]
        for name in ("batch_texts_total", "queue_seconds_count", "encode_seconds_count",
                     "batch_size_texts_sum"):
            self.assertTrue(load.n_ok <= numbers["weir_" + name] <= most, name)

    def test_killed_frontends_lose_no_count(self):
        server = start(self)
        load = Load(server.port, connections=32, texts=["good movie", "bad movie"]).start()
        self.addCleanup(load.stop)
        for _ in range(3):
            load.wait_until_ok(100)
            os.kill(server.pids("weir-frontend")[0], signal.SIGKILL)
            server.expect_log("frontend 1 . ended with SIGKILL")
            server.expect_log("listening on")  # and has counted what was lost
        load.wait_until_ok(100)
        load.stop()
        numbers = Numbers(server.port)
        self.assertTrue(numbers.settled())
        unanswered = len(load.failures)  # some of them answered, but not received
        self.assertTrue(load.n_ok <= numbers.code("2xx") <= load.n_ok + unanswered)
        self.assertLessEqual(numbers.code("2xx") + numbers.code("lost"), load.n_ok + unanswered)
        self.assertEqual(numbers["weir_tokens_total"], 4 * numbers["weir_texts_total"])

    def test_requests_that_died_with_their_frontend_are_lost(self):
        server = start(self, frontends=1)
        worker = server.worker()
        os.kill(worker, signal.SIGSTOP)
        clients = [Client(server.port) for _ in range(5)]
        for client in clients:
            client.send("POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                        'Content-Length: 15\r\n\r\n{"text":"good"}')
        depth = lambda: Numbers(server.port)["weir_lane_depth"] == 5  # noqa: E731
        eventually(depth, "5 texts in the lane")
        os.kill(server.pids("weir-frontend")[0], signal.SIGKILL)
        server.expect_log("frontend 1 . ended with SIGKILL")
        for client in clients:
            self.assertIsNone(client.read())
            client.close()
        server.expect_log("listening on")
        os.kill(worker, signal.SIGCONT)
        numbers = Numbers(server.port)
        self.assertEqual(numbers.code("lost"), 5)
        self.assertTrue(numbers.settled())
        self.assertEqual(numbers["weir_texts_total"], 5)
        server.check_segment()


if __name__ == "__main__":
    harness.main()
