"""Clients under load, and an exact account of what became of every request.

A request fails when its answer is not 200, or when its connection ends after it was sent and before
it was answered: nothing is sent twice. A connection refused before anything was sent is counted
apart.
"""
import asyncio
import collections
import json
import resource
import threading
import time

from failure_logs import now, remember

TEXTS = ["a gorgeous, witty, seductive movie", "it's slow -- very, very slow",
         "unflinchingly bleak and desperate", "allows us to hope that nolan is poised",
         "the acting, costumes, music, cinematography and sound are all astounding", "so-so"]


def request_for(text, path="/predict"):
    body = json.dumps({"text": text}).encode()
    head = (f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n")
    return head.encode() + body


async def read_response(reader):
    """(status, headers by lower-case name, body)."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip()
               for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return int(head[0].split()[1]), headers, body


class Load:
    """Keeps `connections` busy from start() to stop(), in a thread of its own."""

    def __init__(self, port, connections=16, texts=None):
        self.port, self.connections, self.texts = port, connections, texts or TEXTS
        self.n_ok = self.n_refused = self.n_connections = 0
        self.slowest_s = 0.0
        self.failures = []  # (what happened, text)
        self.broken_ports = []  # our ends of the connections that ended without the answer
        self.answers = collections.defaultdict(set)  # text -> distinct bodies of its 200s
        remember(f"the clients of port {port}", self.text, lambda: not self._thread.is_alive())
        self._stopping = False
        self._some_ok = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def text(self):
        return "\n".join([f"{self.n_ok} answers of 200, {self.n_refused} refused connections, the "
                          f"slowest answer {self.slowest_s:.3f} s, {len(self.failures)} failures",
                          *(f"{what}, asked for {text!r}" for what, text in self.failures)])

    def start(self):
        """Returns once the first answer is there."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # of descriptors; often 1024 are given
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._thread.start()
        if not self._some_ok.wait(30):
            raise AssertionError(f"no request was answered; failures: {self.failures[:3]}")
        return self

    def stop(self):
        self._stopping = True
        self._thread.join(60)
        if self._thread.is_alive():
            raise AssertionError("clients still wait for answers after 60 s")

    def wait_until_ok(self, n):
        """Waits until n more requests were answered."""
        goal, end = self.n_ok + n, time.monotonic() + 60
        while self.n_ok < goal:
            if time.monotonic() > end:
                raise AssertionError(f"{goal - self.n_ok} of {n} answers did not come in 60 s")
            time.sleep(0.002)

    async def _run(self):
        await asyncio.gather(*(self._client(index) for index in range(self.connections)))

    async def _client(self, index):
        reader = writer = None
        turn = index
        while not self._stopping:
            if writer is None:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    self.n_connections += 1
                except OSError:
                    self.n_refused += 1
                    await asyncio.sleep(0.005)
                    continue
            text = self.texts[turn % len(self.texts)]
            turn += 1
            if not await self._ask(reader, writer, text):
                writer.close()
                writer = None
        if writer:
            writer.close()

    @staticmethod
    def _when(begin):
        return f"at {now()} after {time.monotonic() - begin:.3f} s"

    async def _ask(self, reader, writer, text):
        """One request; True when the connection can carry another."""
        begin = time.monotonic()
        try:
            writer.write(request_for(text))
            status, headers, body = await read_response(reader)
        except (OSError, EOFError) as error:
            self.failures.append((f"no answer: {error!r}, {self._when(begin)}", text))
            self.broken_ports.append(writer.get_extra_info("sockname")[1])
            return False
        self.slowest_s = max(self.slowest_s, time.monotonic() - begin)
        if status == 200:
            self.n_ok += 1
            self.answers[text].add(body)
            self._some_ok.set()
        else:
            self.failures.append((f"{status} {body[:200]!r}, {self._when(begin)}", text))
        return headers.get("connection", "").lower() != "close"
