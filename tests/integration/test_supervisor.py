"""scripts/supervisor by itself, over fake programs that crash, hang and drain when told to."""
import glob
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import (PATIENCE_S, SOURCE, Supervisor, children_of, eventually,  # noqa: E402
                     is_running)

FAKE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fake_program.py")


class Fakes:
    """A folder of fake programs, what they are told, and what they report."""

    def __init__(self, **behaviours):
        self.folder = tempfile.TemporaryDirectory(prefix="weir-fake-")
        for name in ("weir-worker", "weir-frontend", "shm_inspect"):
            os.symlink(FAKE, self.path("bin-" + name))
        os.mkdir(self.path("bin"))
        for name in ("weir-worker", "weir-frontend", "shm_inspect"):
            os.rename(self.path("bin-" + name), self.path("bin/" + name))
        for name, todo in behaviours.items():
            self.tell(name, todo)
        self.events = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.events.bind(self.path("events"))
        self.events.settimeout(PATIENCE_S)
        self.env = {"WEIR_BIN": self.path("bin"), "FAKE_FOLDER": self.folder.name}

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def tell(self, program, todo):
        names = {"worker": "weir-worker", "frontend": "weir-frontend", "health": "shm_inspect"}
        with open(self.path(names[program]), "w", encoding="utf-8") as file:
            file.write(todo)

    def next(self, event, program):
        """The next report of that event by that program; others in between are dropped."""
        while True:
            report = json.loads(self.events.recv(65536))
            if (report["event"], report["program"]) == (event, program):
                return report

    def close(self):
        self.events.close()
        self.folder.cleanup()


class BackoffTest(unittest.TestCase):
    def reply(self, call):
        """What a function of scripts/backoff.sh leaves in REPLY."""
        return int(subprocess.check_output(
            ["bash", "-euc", f"source {SOURCE}/scripts/backoff.sh; {call}; echo $REPLY"]))

    def test_a_life_of_a_second_makes_up_for_one_crash(self):
        cases = {(0, 0): 1, (1, 999): 2, (1, 1000): 1, (1, 2000): 1, (5, 3500): 3, (0, 10**9): 1}
        for (before, life_ms), expected in cases.items():
            self.assertEqual(self.reply(f"crashes_in_a_row {before} {life_ms}"), expected)

    def test_the_pause_doubles_up_to_its_limit(self):
        never_ready = [self.reply(f"backoff_ms {n} ''") for n in range(1, 11)]
        self.assertEqual(never_ready, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000])
        was_ready = [self.reply(f"backoff_ms {n} 1") for n in range(1, 11)]
        self.assertEqual(was_ready, [0, 100, 200, 400] + [500] * 6)


class ChildrenTest(unittest.TestCase):
    def test_bash_itself_says_nothing_of_a_child_that_was_killed(self):
        """Its lines are no JSON, and no log of ours."""
        with tempfile.TemporaryDirectory() as folder:
            script = f"""source {SOURCE}/scripts/children.sh
                ended() {{ echo "status $2"; }}
                children_init {folder}/fifo
                spawn ended sleep 100
                kill -KILL "$REPLY"
                for ((i = 0; i < 5; i++)); do open_pipe; done
                capture sleep 0.01
                wait_for_child
                echo "still heard" >&2"""
            done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True,
                                  timeout=PATIENCE_S, check=True)
        self.assertEqual((done.stdout, done.stderr), ("status 137\n", "still heard\n"))


    def test_a_signal_to_the_whole_group_ends_no_program_in_the_foreground(self):
        script = f"""source {SOURCE}/scripts/children.sh
            trap 'echo trapped' TERM
            quietly bash -c 'kill -TERM 0; echo unharmed'"""
        done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True,
                              timeout=PATIENCE_S, check=False, start_new_session=True)
        self.assertEqual((done.returncode, done.stdout), (0, "unharmed\ntrapped\n"))


    def run_script(self, script):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                ["bash", "-euc", f"source {SOURCE}/scripts/children.sh\n"
                 f"children_init {folder}/fifo\n{script}"],
                capture_output=True, text=True, timeout=PATIENCE_S, check=True)
        return done.stdout

    def test_who_is_ended_before_it_ignores_signals_is_started_again(self):
        """A stand-in for the moment between fork and trap, which no test can meet by will."""
        early = ('early() { [[ -e $fifo.second ]] ||'
                 ' { : >"$fifo.second"; kill -TERM $BASHPID; }; }\n')
        timer = """trap() { early; builtin trap "$@"; }
            ended() { echo "ended $2 $3"; }
            after 1 "ended word"
            wait_for_child
            wait_for_child
            echo "${#at_end[@]} left"
            """
        self.assertEqual(self.run_script(early + timer), "ended 0 word\n0 left\n")
        program = """trap() { early; builtin trap "$@"; }
            quietly printf said
            quietly false || echo " $?"
            """
        self.assertEqual(self.run_script(early + program), "said 1\n")

    def test_a_reader_that_is_ended_too_soon_knows_nothing(self):
        """So its program counts as ready, or it would be starting for ever."""
        script = """trap() {
                [[ $* != ' TERM INT HUP' || -z ${write_end:-} ]] || kill -HUP $BASHPID
            }
            ready() { echo "ready $2"; }
            ended() { echo "ended $2"; }
            spawn_announced ended ready bash -c 'exec sleep 100'
            pid=$REPLY
            wait_for_child
            kill -KILL "$pid"
            wait_for_child
            """
        self.assertEqual(self.run_script(script), "ready -1\nended 137\n")

    def test_who_dies_right_after_its_newline_was_ready_before(self):
        script = """ready() { echo "ready $2 $3"; }
            ended() { echo "ended $2 $3"; }
            tell() {
                spawn_announced "ended $1" "ready $1" bash -c "$2"
                child_ended "$REPLY" 3 # the loop may hear of the death first
                while ((${#at_end[@]} > 0)); do wait_for_child; done
            }
            tell announced 'echo >&"$1"; exit 3'
            tell silent 'exit 3'
            echo "${#reader_of[@]} ${#late_end[@]} left"
            """
        self.assertEqual(self.run_script(script), "ready 0 announced\nended 3 announced\n"
                         "ready 1 silent\nended 3 silent\n0 0 left\n")

    def test_no_signal_is_lost_while_the_loop_looks_for_missing_children(self):
        """Bash drops the trap of a signal that comes while a loop is being continued."""
        script = f"""source {SOURCE}/scripts/children.sh
            trap 'heard=1' USR1 # one that comes during its own trap may be merged with it
            for ((i = 1; i <= 20; i++)); do at_end[$i]=ended; done
            kill() {{ true; }} # they all live
            wait() {{ true; }} # what remains is the look
            heard=0
            echo ready
            while true; do
                wait_for_child
                if ((heard)); then heard=0 && echo heard; fi
            done"""
        with subprocess.Popen(["bash", "-euc", script], stdout=subprocess.PIPE, text=True) as loop:
            heard = queue.Queue()
            threading.Thread(target=lambda: [heard.put(line) for line in loop.stdout],
                             daemon=True).start()
            try:
                self.assertEqual(heard.get(timeout=PATIENCE_S), "ready\n")
                for i in range(1000):
                    time.sleep(i * 1e-6)  # at another point of the loop each time
                    loop.send_signal(signal.SIGUSR1)
                    self.assertEqual(heard.get(timeout=PATIENCE_S), "heard\n")
            finally:
                loop.kill()

    def test_an_end_that_bash_lost_is_told_as_unknown(self):
        script = """ended() { echo "status $2"; }
            spawn ended true
            lost=$REPLY
            wait "$lost"
            jobs() { echo "$lost"; }
            wait_for_child"""
        self.assertEqual(self.run_script(script), "status -1\n")


class SettingsTest(unittest.TestCase):
    def test_frontends_follow_the_cores_and_the_quota_of_a_container(self):
        cases = {"max 100000": 8, "200000 100000": 1, "450000 100000": 2, "6400000 100000": 8,
                 "1 100000": 1, "garbage": 8, "": 8, "100000 0": 8}
        for quota, expected in cases.items():
            with self.subTest(quota=quota), tempfile.NamedTemporaryFile("w") as file:
                file.write(quota + "\n")
                file.flush()
                said = subprocess.check_output(
                    ["bash", "-euc", f"source {SOURCE}/scripts/settings.sh;"
                     f"cgroup_cpu_max={file.name}; capture() {{ REPLY=64; }};"
                     "choose_frontends; echo $frontends"])
                self.assertEqual(int(said), expected)


class SupervisorTest(unittest.TestCase):
    def start(self, *flags, env=None, behaviours=None, **options):
        self.fakes = Fakes(**(behaviours or {}))
        self.addCleanup(self.fakes.close)
        server = Supervisor("--frontends", "2", *flags, env={**self.fakes.env, **(env or {})},
                            **options)
        self.addCleanup(server.__exit__)
        return server

    def assert_nothing_left(self, server, children):
        # its last act is to kill its timers, which end a moment after it
        eventually(lambda: not any(is_running(pid) for pid in children), "the children's end")
        self.assertFalse(os.path.exists(server.segment))

    def test_frontends_start_only_when_the_worker_is_ready(self):
        server = self.start(behaviours={"worker": "silent"}, wait=False)
        self.fakes.next("started", "weir-worker")
        self.assertEqual(server.pids("weir-frontend"), [])
        self.fakes.tell("worker", "ready")
        os.kill(server.worker(), signal.SIGKILL)
        lanes = {self.fakes.next("started", "weir-frontend")["lane"] for _ in range(2)}
        self.assertEqual(lanes, {"0", "1"})

    def test_every_flag_reaches_every_program(self):
        server = self.start("--model-id", "/some/where", "--h2c")
        for program in ("weir-worker", "weir-frontend"):
            argv = self.fakes.next("started", program)["argv"]
            self.assertEqual(argv[argv.index("--model-id") + 1], "/some/where")
            self.assertIn("--h2c", argv)
            self.assertEqual(argv[len(argv) - argv[::-1].index("--segment")], server.segment)

    def test_a_crashed_worker_is_replaced_and_its_last_words_are_told(self):
        server = self.start()
        first = server.worker()
        os.kill(first, signal.SIGKILL)
        server.expect_log("worker 1 ended with SIGKILL; last words: it was the gardener")
        eventually(lambda: set(server.pids("weir-worker")) - {first}, "another worker")
        self.assertEqual(len(server.pids("weir-frontend")), 2)

    def test_a_crashed_frontend_gets_its_lane_back(self):
        server = self.start()
        victim = server.pids("weir-frontend")[1]
        for _ in range(2):
            self.fakes.next("started", "weir-frontend")
        os.kill(victim, signal.SIGSEGV)
        server.expect_log("frontend 1 . ended with SIGSEGV")
        self.assertEqual(self.fakes.next("started", "weir-frontend")["segment"], server.segment)
        eventually(lambda: len(server.pids("weir-frontend")) == 2, "two frontends")

    def test_crashes_at_start_back_off_and_end_in_giving_up(self):
        server = self.start(behaviours={"worker": "crash-ready"}, wait=False,
                            env={"WEIR_CRASHES_MAX": "4"})  # a slow start is no long life
        begin = time.monotonic()
        server.expect_log("worker 1 crashed 5 times in a row; stopping")
        self.assertGreater(time.monotonic() - begin, 0.1 + 0.2 + 0.4)
        self.assertEqual(server.wait(), 1)
        self.assertFalse(os.path.exists(server.segment))

    def test_a_configuration_error_stops_all_with_its_status(self):
        for program in ("worker", "frontend"):
            for status in (64, 78):
                with self.subTest(program=program, status=status):
                    server = self.start(behaviours={program: f"exit {status}"}, wait=False)
                    self.assertEqual(server.wait(), status)
                    server.expect_log("a sentence that says what is wrong")
                    self.assertEqual(server.text().count(f"ended with status {status}"), 1)
                    self.assertFalse(os.path.exists(server.segment))

    def test_a_configuration_error_of_who_has_served_is_tried_again(self):
        server = self.start()
        for program in ("weir-worker", "weir-frontend"):
            self.fakes.tell(program.removeprefix("weir-"), "exit 78")
            os.kill(server.pids(program)[0], signal.SIGKILL)
            server.expect_log("1.* ended with status 78")
            self.fakes.tell(program.removeprefix("weir-"), "ready")
            eventually(lambda: len(server.pids("weir-worker") + server.pids("weir-frontend")) == 3,
                       "all of them")

    def test_a_port_for_each_frontend_is_refused(self):
        server = self.start(wait=False, env={"PORT": "0"})
        self.assertEqual(server.wait(), 64)
        server.expect_log("--port 0 would give each frontend a port of its own: choose one")

    def test_help_is_help_in_both_spellings(self):
        self.fakes = Fakes()
        self.addCleanup(self.fakes.close)
        for word in ("--help", "-h"):
            run = subprocess.run([os.path.join(SOURCE, "scripts/supervisor"), "--h2c", word],
                                 env={**os.environ, **self.fakes.env}, capture_output=True,
                                 text=True, timeout=PATIENCE_S, check=False)
            self.assertEqual((run.returncode, run.stdout, run.stderr), (0, "flags\n", ""))

    def test_signals_without_a_meaning_do_nothing(self):
        server = self.start()
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE, signal.SIGQUIT):
            server.signal(number)
        os.kill(server.worker(), signal.SIGKILL)  # more than alive: at work
        server.expect_log("worker 1 ended with SIGKILL")
        self.assertIsNone(server.process.poll())

    def read_until_it_serves(self, log):
        lines = []
        for line in log:
            lines.append(line)
            if "serving on" in line:
                return
        self.fail("it ended before it served:\n" + "".join(lines))

    def test_a_log_that_nobody_reads_ends_no_server(self):
        self.fakes = Fakes()
        self.addCleanup(self.fakes.close)
        log, write_end = os.pipe()
        segment = self.fakes.path("segment")
        process = subprocess.Popen(
            [os.path.join(SOURCE, "scripts/supervisor"), "--segment", segment, "--frontends", "1"],
            env={**os.environ, **self.fakes.env}, stderr=write_end, stdin=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        os.close(write_end)
        with os.fdopen(log, encoding="utf-8") as lines:
            self.read_until_it_serves(lines)
        worker = self.fakes.next("started", "weir-worker")["pid"]
        os.kill(worker, signal.SIGKILL)
        self.fakes.next("started", "weir-worker")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=PATIENCE_S), 0)
        self.assertFalse(os.path.exists(segment))

    def test_a_worker_that_is_done_before_its_frontends_are_is_not_replaced(self):
        server = self.start("--drain-timeout-ms", "60000", behaviours={"frontend": "stubborn"})
        server.signal(signal.SIGTERM)
        server.expect_log("draining")
        worker = server.worker()
        os.kill(worker, signal.SIGTERM)
        self.fakes.next("terminated", "weir-worker")
        eventually(lambda: worker not in children_of(server.process.pid), "the worker's end")
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0)
        self.assertNotIn("ended with", server.text())

    def test_a_worker_whose_death_bash_lost_is_replaced_in_a_drain(self):
        """Only the status 0, which it does not have, would say that its work was done."""
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as lossy:
            lossy.write("""
                wait() {
                    local status=0
                    builtin wait "$@" || status=$?
                    [[ $1 != -n || ${at_end[${pid:-0}]:-} != *"process_ended worker"* ]] ||
                        pid=
                    return "$status"
                }
                jobs() {
                    builtin jobs "$@"
                    [[ ${at_end[$pid]} != *"process_ended worker"* ]] || echo "$pid"
                }""")
            lossy.flush()
            server = self.start("--drain-timeout-ms", "60000", env={"BASH_ENV": lossy.name},
                                behaviours={"frontend": "stubborn"})
        server.signal(signal.SIGTERM)
        server.expect_log("draining")
        first = server.worker()
        os.kill(first, signal.SIGKILL)
        server.expect_log("worker 1 ended with a status that bash lost")
        eventually(lambda: set(server.pids("weir-worker")) - {first}, "a second worker")
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0)

    def words_of_children(self, server):
        """The command lines of all children, word by word."""
        words = set()
        for pid in children_of(server.process.pid):
            try:
                with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
                    words.update(file.read().split("\0"))
            except (FileNotFoundError, ProcessLookupError):
                pass
        return words

    def test_sigterm_to_every_process_cuts_no_drain_short(self):
        server = self.start("--drain-timeout-ms", "60000", behaviours={"frontend": "stubborn"})
        frontends = server.pids("weir-frontend")
        server.signal(signal.SIGTERM)
        eventually(lambda: "60.500" in self.words_of_children(server), "the drain's timer")
        worker = server.worker()
        for pid in children_of(server.process.pid):  # systemd goes on until no new one is found
            if pid not in [worker, *frontends]:
                os.kill(pid, signal.SIGTERM)
        self.fakes.next("started", "weir-worker")
        os.kill(worker, signal.SIGKILL)
        server.expect_log("worker 1 ended with SIGKILL")  # so all that was before was dealt with
        self.fakes.next("started", "weir-worker")
        self.assertEqual(server.pids("weir-frontend"), frontends)

    def test_sigterm_ends_frontends_first_then_the_worker(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            server = self.start()
            children = children_of(server.process.pid)
            server.signal(number)
            self.assertEqual(server.wait(), 0)
            order = [self.fakes.next("terminated", "weir-frontend")["program"] for _ in range(2)]
            self.fakes.next("terminated", "weir-worker")
            self.assertEqual(order, ["weir-frontend"] * 2)
            self.assert_nothing_left(server, children)

    def test_sigterm_works_at_any_moment_of_start_up(self):
        for delay_ms in range(0, 240, 8):
            with self.subTest(delay_ms=delay_ms):
                server = self.start(wait=False)
                self.assertIsNone(server.process.poll())
                time.sleep(delay_ms / 1000)  # the moment is what this test is about
                server.signal(signal.SIGTERM)
                begin = time.monotonic()
                # before its traps are set, bash dies of the signal, as any program would
                self.assertIn(server.wait(), (0, -signal.SIGTERM))
                self.assertLess(time.monotonic() - begin, 6)
                self.assertFalse(os.path.exists(server.segment))

    def test_a_segment_that_cannot_be_is_refused_in_a_sentence(self):
        self.fakes = Fakes()
        self.addCleanup(self.fakes.close)
        run = subprocess.run(
            [os.path.join(SOURCE, "scripts/supervisor"), "--segment", "/nonexistent/segment"],
            env={**os.environ, **self.fakes.env}, capture_output=True, text=True,
            timeout=PATIENCE_S, check=False)
        self.assertEqual(run.returncode, 78)
        self.assertIn("is its folder there, and writable?", run.stderr)

    def test_sigterm_ends_a_worker_that_never_gets_ready(self):
        server = self.start(behaviours={"worker": "silent"}, wait=False)
        self.fakes.next("started", "weir-worker")
        children = children_of(server.process.pid)
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0)
        self.assert_nothing_left(server, children)

    def test_programs_that_ignore_sigterm_are_killed_in_time(self):
        server = self.start("--drain-timeout-ms", "300",
                            behaviours={"worker": "stubborn", "frontend": "stubborn"})
        children = children_of(server.process.pid)
        begin = time.monotonic()
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0)
        self.assertLess(time.monotonic() - begin, 6)  # 1.8, and not the 8 of no flag
        self.assert_nothing_left(server, children)

    def test_a_second_sigterm_cuts_the_drain_short(self):
        server = self.start(behaviours={"frontend": "stubborn"})
        server.signal(signal.SIGTERM)
        server.expect_log("draining")
        begin = time.monotonic()
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0)
        self.assertLess(time.monotonic() - begin, 6)

    def test_a_worker_that_dies_in_a_drain_is_replaced_while_frontends_need_it(self):
        server = self.start("--drain-timeout-ms", "60000", behaviours={"frontend": "stubborn"})
        server.signal(signal.SIGTERM)
        server.expect_log("draining")
        first = server.worker()
        os.kill(first, signal.SIGKILL)
        eventually(lambda: set(server.pids("weir-worker")) - {first}, "a second worker")
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0)

    def test_a_hung_worker_is_aborted_and_replaced(self):
        server = self.start(behaviours={"health": "1"})
        self.fakes.next("started", "weir-worker")
        server.expect_log("worker 1 does not work: the worker has hay fever; replacing it")
        server.expect_log("worker 1 ended with SIGABRT")
        self.fakes.tell("health", "0")
        self.fakes.next("started", "weir-worker")

    def test_health_that_cannot_be_told_harms_nobody(self):
        server = self.start(behaviours={"health": "3"})
        worker = server.worker()
        server.signal(signal.SIGHUP)  # a whole reload is longer than the first health check takes
        eventually(lambda: worker not in server.pids("weir-worker"), "the reload's end")
        self.assertNotIn("does not work", server.text())

    def test_sighup_starts_a_new_generation_and_drains_the_old_one(self):
        server = self.start()
        old = server.pids("weir-worker") + server.pids("weir-frontend")
        server.signal(signal.SIGHUP)
        server.expect_log(r"serving on port \d+: 2 frontends, segment " + server.segment + "$")
        server.expect_log("reloading: generation 2 starts")
        server.expect_log("segment " + server.segment + r"\.2$")
        eventually(lambda: not any(is_running(pid) for pid in old), "the old ones' end")
        self.assertEqual(len(server.pids("weir-worker") + server.pids("weir-frontend")), 3)
        eventually(lambda: not os.path.exists(server.segment), "the old segment's end")
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0)
        self.assertEqual(glob.glob(server.segment + "*"), [])

    def test_a_reload_that_fails_leaves_the_old_generation_alone(self):
        server = self.start()
        old = set(server.pids("weir-worker") + server.pids("weir-frontend"))
        for program in ("worker", "frontend"):
            self.fakes.tell(program, "exit 78")
            server.signal(signal.SIGHUP)
            server.expect_log("the reload failed")
            eventually(lambda: set(children for children in server.pids("weir-worker")
                                   + server.pids("weir-frontend")) == old, "the old ones alone")
            self.fakes.tell(program, "ready")

    def test_children_end_when_the_supervisor_is_killed(self):
        server = self.start()
        children = server.pids("weir-worker") + server.pids("weir-frontend")
        server.signal(signal.SIGKILL)
        server.wait()
        eventually(lambda: not any(is_running(pid) for pid in children), "the children's end")

    def test_stale_segments_of_dead_supervisors_are_removed_and_others_kept(self):
        stem = f"/dev/shm/weir-{socket.gethostname()}"
        stale, living = f"{stem}-1-99999999.2", f"{stem}-1-{os.getpid()}"
        for file in (stale, living):
            with open(file, "w", encoding="ascii"):
                self.addCleanup(lambda file=file: os.path.exists(file) and os.unlink(file))
        server = self.start(segment=False)
        self.assertFalse(os.path.exists(stale))
        self.assertTrue(os.path.exists(living))
        own = f"{stem}-{server.port}-{server.process.pid}"
        self.assertTrue(os.path.exists(own))
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0)
        self.assertFalse(os.path.exists(own))

    def test_missing_programs_are_a_configuration_error_with_a_way_out(self):
        server = Supervisor(env={"WEIR_BIN": "/nowhere"}, wait=False)
        self.addCleanup(server.__exit__)
        self.assertEqual(server.wait(), 78)
        server.expect_log("no program /nowhere/weir-worker: build first")

    def test_it_works_as_process_one(self):
        fakes = Fakes()
        self.addCleanup(fakes.close)
        # a pid namespace of its own; --kill-child so that nothing outlives the test
        import subprocess
        unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc",
                   "--kill-child"]
        if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode != 0:
            self.skipTest("this machine lets nobody make a pid namespace")
        segment = fakes.path("segment")
        process = subprocess.Popen(
            [*unshare, os.path.join(SOURCE, "scripts/supervisor"), "--segment", segment],
            env={**os.environ, **fakes.env, "FRONTENDS": "1"}, stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.read_until_it_serves(process.stderr)
        inside = children_of(process.pid)[0]
        os.kill(inside, signal.SIGTERM)
        self.assertEqual(process.wait(timeout=PATIENCE_S), 0)
        process.stderr.close()
        self.assertFalse(os.path.exists(segment))


if __name__ == "__main__":
    harness.main()
