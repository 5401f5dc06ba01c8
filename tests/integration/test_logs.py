"""The log of a whole server as JSON: one schema, whoever writes the line."""
import json
import os
import re
import signal
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "frontend")]
import harness  # noqa: E402
from harness import BIN, SOURCE, Supervisor  # noqa: E402
from http_harness import Client, get  # noqa: E402

MODEL = os.path.join(SOURCE, "models/tiny-sst2")
ALWAYS = ["severity", "time", "process", "message"]
OF_A_REQUEST = {"httpRequest", "request_id"}
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class LogsTest(unittest.TestCase):
    def test_every_json_line_has_the_same_fields(self):
        env = {"WEIR_BIN": BIN, "MODEL_ID": MODEL, "BACKEND": "cpu", "LOG_LEVEL": "debug"}
        server = Supervisor("--frontends", "2", "--json-output", "--access-log", env=env)
        self.addCleanup(server.__exit__)
        with Client(server.port) as client:
            client.request("POST", "/predict", '{"text":"a \\"gorgeous\\" movie"}',
                           {"traceparent": PARENT, "User-Agent": 'a "browser"\\'})
            client.request("GET", '/nowhere?a="b"\\')
        os.kill(server.worker(), signal.SIGKILL)
        server.expect_log("worker 1 ended with SIGKILL")
        server.expect_log("ready in")
        self.assertEqual(get(server.port, "/metrics").status, 200)
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0, server.text())
        lines = [json.loads(line) for line in server.log]
        requests = [line for line in lines if "httpRequest" in line]
        self.assertEqual(len(requests), 3)
        for line in lines:
            self.assertEqual(list(line)[:4], ALWAYS)
            self.assertRegex(line["time"], "^" + TIME + "$")
            self.assertIn(line["severity"], ("DEBUG", "INFO", "WARNING", "ERROR"))
            self.assertRegex(line["process"], r"^(supervisor|worker|frontend \d)$")
            more = {name for name in line if not name.startswith("logging.googleapis.com/")}
            self.assertEqual(more - set(ALWAYS), OF_A_REQUEST if line in requests else set())
        self.assertEqual({re.sub(r" \d", "", line["process"]) for line in lines},
                         {"supervisor", "worker", "frontend"})
        self.assertEqual(sum("logging.googleapis.com/trace" in line for line in lines), 1)

    def test_what_is_said_of_a_wrong_flag_or_program_is_json_too(self):
        cases = [(["--no-such-flag", "--json-output"], {}, 64),
                 (["--port", "none"], {"JSON_OUTPUT": "1"}, 64),
                 (["--json-output", "--port", "0"], {}, 64),
                 (["--json-output", "--segment", '/no\twhere\n"x"\\\x01/y'], {}, 78),
                 (["--json-output=1"], {"WEIR_BIN": "/nowhere"}, 78)]
        for flags, env, status in cases:
            with self.subTest(flags=flags):
                server = Supervisor(*flags, env={"WEIR_BIN": BIN, "MODEL_ID": MODEL, **env},
                                    wait=False, segment="--segment" not in flags)
                self.addCleanup(server.__exit__)
                self.assertEqual(server.wait(), status)
                lines = [json.loads(line) for line in server.log]
                self.assertEqual([list(line) for line in lines], [ALWAYS] * len(lines))
                self.assertEqual(lines[0]["severity"], "ERROR")


if __name__ == "__main__":
    harness.main()
