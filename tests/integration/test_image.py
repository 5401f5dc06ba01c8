"""The image: built from the Dockerfile's cpu target, started by its own entrypoint, asked, stopped.

There is no container engine and no registry in CI, so buildah does it: driver vfs, isolation
chroot, the host's network, and a base image made by debootstrap under the name that the Dockerfile
uses. It needs root and Debian's mirror and takes minutes, so it runs by night (ctest -L nightly).
Exit 77: skipped.

    test_image.py           the image
    test_image.py serve     scripts/serve on the bare base, as on a machine that was just installed
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import SOURCE, eventually, free_port  # noqa: E402

MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
BASE = "docker.io/library/debian:12-slim"
IMAGE = "localhost/weir:cpu"
SKIPPED = 77
START_S = 600  # scripts/serve installs and builds first


class Buildah:
    """buildah with storage of its own under build/image, kept: the base takes a minute to make."""

    def __init__(self):
        self.folder = os.path.join(SOURCE, "build/image")
        os.makedirs(self.folder, exist_ok=True)
        self.command = ["buildah", "--root", os.path.join(self.folder, "storage"), "--runroot",
                        os.path.join(self.folder, "run"), "--storage-driver", "vfs"]

    def __call__(self, *words, **options):
        return subprocess.run([*self.command, *words], check=True, text=True,
                              stdout=subprocess.PIPE, **options).stdout.strip()

    def has(self, image):
        return subprocess.run([*self.command, "inspect", "--type", "image", image], check=False,
                              capture_output=True).returncode == 0

    def make_base(self):
        """What the registry would give: a minimal Debian 12."""
        if self.has(BASE):
            return
        with tempfile.TemporaryDirectory(dir=self.folder) as root:
            subprocess.run(["debootstrap", "--variant=minbase", "bookworm", root, MIRROR],
                           check=True, stdout=subprocess.DEVNULL)
            container = self("from", "scratch")
            self("add", container, root, "/")
            self("config", "--cmd", "bash", container)
            self("commit", "--rm", container, BASE)

    def build(self):
        self("bud", "--pull-never", "--isolation", "chroot", "--network", "host", "--format",
             "docker", "--target", "cpu", "-t", IMAGE, SOURCE)

    def configuration(self):
        return json.loads(self("inspect", "--type", "image", IMAGE))["Docker"]["config"]


class Running:
    """A command inside a container's root, as its user, with its environment."""

    def __init__(self, buildah, image, words, port, user="0"):
        self.buildah, self.port = buildah, port
        self.container = buildah("from", "--pull-never", image)
        self.process = subprocess.Popen(
            [*buildah.command, "run", "--isolation", "chroot", "--network", "host", "--user", user,
             "--env", f"PORT={port}", self.container, "--", *words], stderr=subprocess.PIPE,
            text=True)

    def wait_until_serving(self):
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            print(line, end="", flush=True)
            if "serving on port" in line:
                return
        raise AssertionError("it ended before it served:\n" + "".join(lines[-30:]))

    def pid_of(self, word):
        """The process inside whose command line has the word: buildah passes no signals on."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    words = file.read().decode().split("\0")
                with open(f"/proc/{pid}/environ", "rb") as file:
                    is_ours = f"PORT={self.port}\0".encode() in file.read()
            except OSError:
                continue
            if is_ours and words[0].endswith("bash") and any(w.endswith(word) for w in words[:2]):
                return int(pid)
        return None

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.stderr.close()
        self.buildah("rm", self.container)


def ask(port):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict", headers={"Content-Type": "application/json"},
        data=json.dumps({"text": "a gorgeous, witty, seductive movie"}).encode())
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)["prediction"][0]["label"]


def serve_and_stop(running, name):
    """Asks for one answer, then ends it as a platform does; within its time and with status 0."""
    running.wait_until_serving()
    assert ask(running.port) == "POSITIVE"
    supervisor = eventually(lambda: running.pid_of("/supervisor"), "a supervisor")
    begin = time.monotonic()
    os.kill(supervisor, signal.SIGTERM)
    assert running.process.wait(timeout=15) == 0, f"{name} ended with {running.process.returncode}"
    print(f"{name}: stopped in {time.monotonic() - begin:.2f} s")


def test_image(buildah):
    buildah.build()
    config = buildah.configuration()
    assert config["Entrypoint"] == ["/opt/weir/supervisor"], config  # the exec form
    assert config["User"] not in ("", "0", "root"), config
    assert config["Healthcheck"]["Test"][:1] == ["CMD"], config
    running = Running(buildah, IMAGE, config["Entrypoint"], free_port(), config["User"])
    try:
        serve_and_stop(running, "image")
    finally:
        running.close()
    sizes = buildah("images", "--format", "{{.Name}}:{{.Tag}} {{.Size}}").splitlines()
    print("\n".join(line for line in sizes if "weir" in line or "debian" in line))


def test_serve(buildah):
    """A copy of the tracked files, as a clone would have them."""
    container = buildah("from", "--pull-never", BASE)
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "-C", SOURCE, "archive", "HEAD"], check=True,
                                 stdout=subprocess.PIPE).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        buildah("add", container, folder, "/weir")
    buildah("commit", "--rm", container, "localhost/weir:clone")
    running = Running(buildah, "localhost/weir:clone", ["/weir/scripts/serve"], free_port())
    try:
        serve_and_stop(running, "scripts/serve")
    finally:
        running.close()


def main():
    missing = [name for name in ("buildah", "debootstrap") if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        print(f"skipped: needs root, buildah and debootstrap (scripts/install_packages image); "
              f"missing: {missing or 'root'}")
        return SKIPPED
    buildah = Buildah()
    buildah.make_base()
    (test_serve if sys.argv[1:] == ["serve"] else test_image)(buildah)
    return 0


if __name__ == "__main__":
    sys.exit(main())
