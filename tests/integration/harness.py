"""What the integration tests share: a running scripts/supervisor, its log, its processes.

Nothing here sleeps to wait for an event: readiness comes over a descriptor, log lines and ends over
pipes. Each server has its own port, segment and folder, so tests run in parallel. When a test
fails, main() prints the logs of its servers.
"""
import contextlib
import glob
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(SOURCE, "tests/frontend"))
from failure_logs import main, remember  # noqa: E402, F401

BIN = os.environ.get("WEIR_BIN", os.path.join(SOURCE, "build/release/bin"))
PATIENCE_S = float(os.environ.get("WEIR_TEST_PATIENCE_S", "30"))  # what a sanitizer build may take


def hold_port():
    """A socket that keeps a free port for who may share it, as frontends do, and no one else gets
    it. A port that is only looked up may be a neighbour's, or a client's, a moment later."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind(("0.0.0.0", 0))  # never one that another holds: port 0 shares nothing
    return holder


def free_port():
    """A port that was free a moment ago: for servers of another user, whom a held one refuses."""
    with hold_port() as holder:
        return holder.getsockname()[1]


def is_running(pid):
    """True for a process that is more than a corpse."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return []


def program_of(pid):
    """The name in argv[0], or the script's when python or bash runs one."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = [os.path.basename(word.decode()) for word in file.read().split(b"\0") if word]
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return words[1] if len(words) > 1 and re.match("python|bash", words[0]) else "".join(words[:1])


def client_ports_of(pid):
    """The far ends' ports of the IPv4 connections that a process has accepted."""
    sockets = set()
    for descriptor in glob.glob(f"/proc/{pid}/fd/*"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            sockets.add(os.readlink(descriptor))
    with open("/proc/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file.readlines()[1:]]  # 2: far end, 3: state, 9: inode
    established = "01"
    return {int(row[2].rpartition(":")[2], 16) for row in rows
            if row[3] == established and f"socket:[{row[9]}]" in sockets}


def eventually(condition, what, patience_s=None):
    """Looks again every 5 ms: for state of the kernel that gives no event."""
    end = time.monotonic() + (patience_s or PATIENCE_S)
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within the time: {what}")
        time.sleep(0.005)
    return result


class Supervisor:
    """scripts/supervisor with its log; a context that leaves nothing running."""

    def __init__(self, *flags, env=None, segment=True, wait=True, port=None):
        self.port_holder = None if port else hold_port()
        self.port = port or self.port_holder.getsockname()[1]
        self.folder = tempfile.TemporaryDirectory(prefix="weir-test-")
        self.log, self._lines = [], queue.Queue()
        read_end, write_end = os.pipe()
        command = [os.path.join(SOURCE, "scripts/supervisor"), *flags]
        command += ["--ready-fd", str(write_end)]
        self.segment = None
        if segment:
            self.segment = "/dev/shm/weir-test-" + os.path.basename(self.folder.name)
            command += ["--segment", self.segment]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AIP_")}
        environment.update({"PORT": str(self.port)}, **(env or {}))
        self.process = subprocess.Popen(command, env=environment, cwd=SOURCE, text=True,
                                        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        pass_fds=[write_end])
        remember(f"the server on port {self.port}", self.text,
                 lambda: self.process.poll() is not None)
        os.close(write_end)
        self._ready = os.fdopen(read_end, "rb")
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        if wait and self._ready.readline() != b"\n":
            self.__exit__()
            raise AssertionError("the supervisor ended before it was ready:\n" + self.text())

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def text(self):
        return "".join(self.log)

    def expect_log(self, pattern):
        """The match of the next log line, not read before, that has the pattern."""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"no line with {pattern!r} in the log:\n{self.text()}")
            if match := re.search(pattern, line):
                return match

    def signal(self, number):
        self.process.send_signal(number)

    def pids(self, program):
        """Living children by program name, oldest first."""
        return [pid for pid in children_of(self.process.pid)
                if program_of(pid) == program and is_running(pid)]

    def worker(self):
        """The pid of the one living worker, waited for."""
        return eventually(lambda: self.pids("weir-worker"), "a worker")[0]

    def check_segment(self):
        """All invariants of the shared memory hold."""
        done = subprocess.run([os.path.join(BIN, "shm_inspect"), "check", "--segment",
                               self.segment], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def wait(self):
        """The exit status, waited for; the log is whole then."""
        status = self.process.wait(timeout=PATIENCE_S)
        self._reader.join(timeout=PATIENCE_S)
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        left = children_of(self.process.pid)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=12)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in left:
            if is_running(pid) and program_of(pid).startswith("weir-"):
                os.kill(pid, signal.SIGKILL)
        self._ready.close()
        if self.port_holder:
            self.port_holder.close()
        self._reader.join(timeout=5)
        self.process.stderr.close()
        self.folder.cleanup()
        # A supervisor that was killed leaves its segments, those of reloads (.2, .3) too.
        for path in glob.glob(self.segment + "*") if self.segment else []:
            os.unlink(path)
