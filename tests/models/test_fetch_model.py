#!/usr/bin/env python3
"""scripts/fetch_model against an imitation of the Hub: its API, its redirect to storage on another
host, ranges, and the ways in which a download goes wrong."""

import hashlib
import http.server
import json
import os
import subprocess
import tempfile
import threading
import unittest
import urllib.parse

SCRIPT = os.path.join(os.path.dirname(__file__), "..", "..", "scripts", "fetch_model")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = "someone/some-model"
WEIGHTS = bytes(range(256)) * 12000  # three chunks of the script


def git_blob(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub(http.server.ThreadingHTTPServer):
    """What it serves, what it does wrong, and what it was asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {
            "config.json": b'{"model_type": "distilbert"}',
            "model.safetensors": WEIGHTS,
            "vocab.txt": b"[PAD]\n[UNK]\n",
            "README.md": b"not read by weir",
        }
        self.secret = None  # the token that is asked for
        self.api_status = 200
        self.error_code = None
        self.damaged = set()  # names served with a wrong byte
        self.cut_after = []  # sizes after which the next downloads of the weights break off
        self.ignore_ranges = False
        self.checksums = True
        self.sizes = True
        self.commit = COMMIT
        self.old_names = []  # of the model: asked for under one, it redirects to the new one
        self.storage_statuses = []  # statuses of the next downloads from storage
        self.ranges, self.storage_tokens, self.downloads = [], [], []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_port}"

    def siblings(self):
        items = []
        for name, content in self.files.items():
            item = {"rfilename": name, "size": len(content) if self.sizes else None}
            if self.checksums:
                item["blobId"] = git_blob(content)
            if self.checksums and name.endswith(".safetensors"):
                item["blobId"] = "of the pointer, not of the content"
                sha256 = hashlib.sha256(content).hexdigest()
                item["lfs"] = {"size": item["size"], "sha256": sha256}
            items.append(item)
        return items


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, content=b"", headers=()):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        path = urllib.parse.unquote(self.path.split("?")[0])
        if path.startswith("/storage/"):
            return self.storage(path.removeprefix("/storage/"))
        for name in self.server.old_names:
            if f"/{name}/" in path:
                where = self.path.replace(f"/{name}/", f"/{MODEL}/")
                return self.answer(307, headers=[("Location", where)])
        if self.server.secret and self.headers["Authorization"] != f"Bearer {self.server.secret}":
            return self.answer(401, headers=[("X-Error-Code", "GatedRepo")])
        if path.startswith("/api/"):
            return self.api(path)
        name = path.removeprefix(f"/{MODEL}/resolve/{COMMIT}/")
        # The same machine under another name: to a client it is another host.
        where = f"http://localhost:{self.server.server_port}/storage/{name}"
        return self.answer(302, headers=[("Location", where)])

    def api(self, path):
        if self.server.api_status != 200:
            code = self.server.error_code
            return self.answer(
                self.server.api_status, headers=[("X-Error-Code", code)] if code else ()
            )
        if path not in (
            f"/api/models/{MODEL}/revision/main",
            f"/api/models/{MODEL}/revision/refs/pr/1",
        ):
            return self.answer(404)
        return self.answer(
            200,
            json.dumps({"sha": self.server.commit, "siblings": self.server.siblings()}).encode(),
        )

    def storage(self, name):
        hub = self.server
        hub.downloads.append(name)
        hub.storage_tokens.append(self.headers["Authorization"])
        hub.ranges.append(self.headers["Range"])
        if hub.storage_statuses:
            return self.answer(hub.storage_statuses.pop(0))
        content = hub.files[name]
        if name in hub.damaged:
            content = content[:-1] + b"?"
        start = 0
        if self.headers["Range"] and not hub.ignore_ranges:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if name == "model.safetensors" and hub.cut_after:
            self.wfile.write(content[start : start + hub.cut_after.pop(0)])
            self.close_connection = True
        else:
            self.wfile.write(content[start:])


class FetchModel(unittest.TestCase):
    def setUp(self):
        self.hub = Hub()
        self.addCleanup(self.hub.server_close)
        self.addCleanup(self.hub.shutdown)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder, self.out = folder.name, os.path.join(folder.name, "model")

    def run_script(self, *arguments, token=None, endpoint=None, model=MODEL):
        environment = {
            key: value for key, value in os.environ.items() if "proxy" not in key.lower()
        }
        environment.update(HF_ENDPOINT=endpoint or self.hub.endpoint, HF_TOKEN=token or "")
        command = [SCRIPT, model, "--out", self.out, "--retry-wait", "0", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    def expect_success(self, result):
        self.assertEqual(result.returncode, 0, result.stderr)

    def expect_refusal(self, result, words):
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn(words, result.stderr)
        self.assertNotIn("Traceback", result.stderr)
        self.assertFalse(os.path.exists(self.out))

    def read(self, name):
        with open(os.path.join(self.out, name), "rb") as file:
            return file.read()

    def test_a_model_comes_whole_and_only_with_what_weir_reads(self):
        self.expect_success(self.run_script())
        self.assertEqual(self.read("model.safetensors"), WEIGHTS)
        self.assertEqual(
            sorted(os.listdir(self.out)),
            [".fetched.json", "config.json", "model.safetensors", "vocab.txt"],
        )
        self.assertEqual(os.listdir(self.folder), ["model"])

    def test_a_second_run_downloads_nothing(self):
        self.expect_success(self.run_script())
        self.hub.downloads.clear()
        result = self.run_script()
        self.expect_success(result)
        self.assertIn("already, complete and verified", result.stderr)
        self.assertEqual(self.hub.downloads, [])

    def test_a_revision_with_slashes_is_asked_for(self):
        self.expect_success(self.run_script("--revision", "refs/pr/1"))

    def test_a_broken_line_is_taken_up_where_it_broke(self):
        self.hub.cut_after = [1000000, 500000]
        self.expect_success(self.run_script())
        self.assertEqual(self.read("model.safetensors"), WEIGHTS)
        ranges = [range_ for range_ in self.hub.ranges if range_]
        self.assertEqual(ranges, ["bytes=1000000-", "bytes=1500000-"])

    def test_a_later_run_goes_on_where_the_first_gave_up(self):
        self.hub.cut_after = [100000] * 5
        self.expect_refusal(self.run_script(), "run this again to go on from where it stands")
        self.hub.ranges.clear()
        self.expect_success(self.run_script())
        self.assertIn("bytes=500000-", self.hub.ranges)
        self.assertEqual(self.read("model.safetensors"), WEIGHTS)

    def test_a_server_without_ranges_is_asked_for_all_again(self):
        self.hub.cut_after = [1000000]
        self.hub.ignore_ranges = True
        self.expect_success(self.run_script())
        self.assertEqual(self.read("model.safetensors"), WEIGHTS)

    def test_a_busy_server_is_asked_again(self):
        self.hub.storage_statuses = [503, 429]
        self.expect_success(self.run_script())

    def test_damaged_weights_are_refused_and_removed(self):
        self.hub.damaged = {"model.safetensors"}
        self.expect_refusal(self.run_script(), "does not have the checksum that the Hub gave")
        self.hub.damaged = set()
        self.expect_success(self.run_script())

    def test_a_damaged_small_file_is_refused_too(self):
        self.hub.damaged = {"vocab.txt"}
        self.expect_refusal(self.run_script(), "vocab.txt does not have the checksum")

    def test_files_without_a_checksum_are_refused(self):
        self.hub.checksums = False
        self.expect_refusal(self.run_script(), "no checksum of config.json")

    def test_a_token_goes_to_the_hub_and_not_to_its_storage(self):
        self.hub.secret = "hf_secret"
        self.expect_success(self.run_script(token="hf_secret"))
        self.assertEqual(set(self.hub.storage_tokens), {None})

    def test_a_renamed_model_is_followed_with_the_token(self):
        self.hub.old_names = ["some-model-of-old"]
        self.hub.secret = "hf_secret"
        self.expect_success(self.run_script(model="some-model-of-old", token="hf_secret"))
        self.assertEqual(set(self.hub.storage_tokens), {None})

    def test_an_answer_that_is_not_the_hubs_is_refused(self):
        self.hub.commit = "../../elsewhere"
        self.expect_refusal(self.run_script(), "did not answer as the Hub's API does")
        self.hub.commit, self.hub.sizes = COMMIT, False
        self.expect_refusal(self.run_script(), "no size of config.json")
        self.expect_refusal(self.run_script(endpoint="no address"), "no address")

    def test_a_folder_that_cannot_be_made_is_named(self):
        self.out = "/proc/nowhere/model"
        self.expect_refusal(self.run_script(), "cannot write to /proc/nowhere/model")
        self.assertEqual(self.run_script("--out", "/").returncode, 2)

    def test_a_closed_model_asks_for_a_token(self):
        self.hub.secret = "hf_secret"
        self.expect_refusal(self.run_script(), "accept its terms at")

    def test_an_unknown_model_is_said_to_be_unknown(self):
        self.hub.api_status = 404
        self.expect_refusal(
            self.run_script(), "the Hub knows no someone/some-model at revision main"
        )
        self.hub.api_status, self.hub.error_code = 401, "RepoNotFound"
        self.expect_refusal(
            self.run_script(), "the Hub knows no someone/some-model at revision main"
        )

    def test_a_hub_in_trouble_is_named(self):
        self.hub.api_status = 500
        self.expect_refusal(self.run_script(), "the Hub answered HTTP 500")

    def test_without_network_it_says_what_to_do_by_hand(self):
        result = self.run_script(endpoint="http://127.0.0.1:1")
        self.expect_refusal(result, "cannot reach http://127.0.0.1:1")
        self.assertIn("On a machine with network, download config.json", result.stderr)

    def test_without_network_a_complete_folder_is_enough(self):
        self.expect_success(self.run_script())
        result = self.run_script(endpoint="http://127.0.0.1:1")
        self.expect_success(result)
        self.assertIn("complete and verified", result.stderr)
        with open(os.path.join(self.out, "vocab.txt"), "ab") as file:
            file.write(b"x")
        self.assertEqual(self.run_script(endpoint="http://127.0.0.1:1").returncode, 1)

    def test_a_folder_with_something_else_in_it_is_left_alone(self):
        os.mkdir(self.out)
        result = self.run_script()
        self.assertEqual(result.returncode, 1)
        self.assertIn("remove it, or choose another --out", result.stderr)
        self.assertEqual(os.listdir(self.out), [])

    def test_a_pickle_and_shards_are_refused_with_what_to_do(self):
        self.hub.files["pytorch_model.bin"] = self.hub.files.pop("model.safetensors")
        self.expect_refusal(self.run_script(), "only pytorch_model.bin")
        self.hub.files["model.safetensors.index.json"] = b"{}"
        self.expect_refusal(self.run_script(), "comes in several shards")
        del self.hub.files["pytorch_model.bin"], self.hub.files["model.safetensors.index.json"]
        self.expect_refusal(self.run_script(), "has no model.safetensors")

    def test_a_name_that_is_none_is_bad_usage(self):
        for name in ("a/b/c", "../x", "a b"):
            result = subprocess.run([SCRIPT, name], capture_output=True, text=True, timeout=60)
            self.assertEqual(result.returncode, 2)
            self.assertIn("is no name on the Hub", result.stderr)


if __name__ == "__main__":
    unittest.main()
