"""What the HTTP tests share: a frontend with a worker behind it, and a client that sends raw bytes.

Port 0, own segment and folder for each server, so tests run in parallel. Readiness comes over a
descriptor; the port out of the frontend's log.
"""
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

import failure_logs

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("WEIR_BIN", os.path.join(SOURCE, "build/release/bin"))
FAKE_WORKER = os.environ.get("WEIR_FAKE_WORKER",
                             os.path.join(os.path.dirname(BIN), "tests/fake_worker"))
MODEL = os.path.join(SOURCE, "models/tiny-sst2")
PATIENCE_S = float(os.environ.get("WEIR_TEST_PATIENCE_S", "30"))
SANITIZED = bool(os.environ.get("WEIR_SANITIZE"))
JSON = {"Content-Type": "application/json"}


def eventually(condition, what, patience_s=PATIENCE_S):
    """Looks again every 5 ms: for what gives no event."""
    end = time.monotonic() + patience_s
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within the time: {what}")
        time.sleep(0.005)
    return result


class Reply:
    """A response: status, headers by lower-case name, body."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:200]!r}"


class Client:
    """One connection. Sends what it is told, reads responses one by one."""

    def __init__(self, port, timeout=PATIENCE_S):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())
        return self

    def request(self, method, path, body=None, headers=None, version="HTTP/1.1"):
        lines = [f"{method} {path} {version}", "Host: test"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body is not None:
            body = body if isinstance(body, bytes) else body.encode()
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
        return self.read(head=method == "HEAD")

    def read(self, head=False):
        """The next response, or None when the connection ended before one."""
        try:
            line = self.file.readline()
        except ConnectionResetError:
            return None
        if not line:
            return None
        status, headers = int(line.split()[1]), {}
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            headers[name.strip().lower()] = value.strip()
        if status == 100:
            return Reply(status, headers, b"")
        size = 0 if head else int(headers.get("content-length", "0"))
        return Reply(status, headers, self.file.read(size))

    def is_closed(self):
        """Waits for the other side's end of file."""
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.file.close()
        self.socket.close()

    def reset(self):
        """Closes with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def documented_error(status):
    """The example of docs/openapi.json for that status: tests provoke it word for word."""
    with open(os.path.join(SOURCE, "docs/openapi.json"), encoding="utf-8") as file:
        document = json.load(file)
    reference = document["paths"]["/predict"]["post"]["responses"].get(
        str(status), {"$ref": "#/components/responses/NotFound"})["$ref"]
    response = document["components"]["responses"][reference.rpartition("/")[2]]
    return response["content"]["application/json"]["example"]


def get(port, path):
    """The reply to one GET on a connection of its own."""
    with Client(port) as client:
        return client.request("GET", path)


class Server:
    """fake_worker (or weir-worker) and weir-frontend. A context that leaves nothing running."""

    def __init__(self, *flags, worker_env=None, worker=FAKE_WORKER, start=True, env=None,
                 prefix=()):
        self.folder = tempfile.TemporaryDirectory(prefix="weir-http-")
        self.segment = "/dev/shm/weir-test-" + os.path.basename(self.folder.name)
        self.flags = ["--segment", self.segment, "--model-id", MODEL, "--frontends", "1",
                      "--port", "0", "--hostname", "127.0.0.1", "--threads", "1", *flags]
        self.worker_env, self.worker_program, self.env = worker_env or {}, worker, env or {}
        self.prefix = list(prefix)  # of the frontend's command line
        self.worker, self.frontend, self.port, self.log = None, None, None, []
        failure_logs.remember("the frontend of " + self.segment, self.text,
                              lambda: self.frontend is None or self.frontend.poll() is not None)
        if start:
            try:
                self.start_worker()
                self.start_frontend()
            except BaseException:  # no `with` will end it
                self._end()
                raise

    def _spawn(self, command, env, stderr):
        read_end, write_end = os.pipe()
        environment = {**os.environ, **env}
        process = subprocess.Popen([*command, *self.flags, "--ready-fd", str(write_end)],
                                   env=environment, cwd=SOURCE, stdin=subprocess.DEVNULL,
                                   stderr=stderr, text=True, pass_fds=[write_end])
        os.close(write_end)
        return process, os.fdopen(read_end, "rb")

    def start_worker(self, env=None):
        self.worker, ready = self._spawn([self.worker_program], {**self.worker_env, **(env or {})},
                                         None)
        with ready:
            assert ready.readline() == b"\n", "the worker did not start"

    def start_frontend(self, wait=True):
        command = [*self.prefix, os.path.join(BIN, "weir-frontend")]
        self.frontend, self._ready = self._spawn(command, self.env, subprocess.PIPE)
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        if wait:
            self.wait_ready()

    def _read_log(self):
        for line in self.frontend.stderr:
            self.log.append(line)

    def wait_ready(self):
        ready = self._ready.readline()
        self._ready.close()
        if ready != b"\n":
            self.frontend.wait(timeout=PATIENCE_S)
            raise AssertionError("the frontend did not start:\n" + self.text())
        match = eventually(lambda: re.search(r"listening on \S+ port (\d+)", self.text()),
                           "the port")
        self.port = int(match.group(1))

    def text(self):
        return "".join(self.log)

    def client(self, **kwargs):
        return Client(self.port, **kwargs)

    def ask(self, method, path, body=None, headers=None):
        """One request on a connection of its own."""
        with self.client() as client:
            return client.request(method, path, body, headers)

    def predict(self, document, headers=None):
        return self.ask("POST", "/predict", json.dumps(document), {**JSON, **(headers or {})})

    def metrics(self):
        """Series to value."""
        text = self.ask("GET", "/metrics").body.decode()
        pairs = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def stop_worker(self, number=signal.SIGKILL):
        self.worker.send_signal(number)
        self.worker.wait(timeout=PATIENCE_S)

    def stop_frontend(self, number=signal.SIGTERM):
        """The exit status."""
        self.frontend.send_signal(number)
        return self.end_of_frontend()

    def end_of_frontend(self):
        status = self.frontend.wait(timeout=PATIENCE_S)
        self._ready.close()
        self._reader.join(timeout=PATIENCE_S)
        self.frontend.stderr.close()
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        problem = self._end()
        if problem:
            raise AssertionError(problem)

    def _end(self):
        """Ends all and leaves no file; says what is wrong with the frontend's end, or None."""
        problem = None
        if self.frontend and self.frontend.poll() is None:
            status = self.stop_frontend()
            problem = f"the frontend ended with {status}:\n{self.text()}" if status != 0 else None
        if self.worker and self.worker.poll() is None:
            self.stop_worker(signal.SIGTERM)
        self.folder.cleanup()
        if os.path.exists(self.segment):
            os.unlink(self.segment)
        return problem
