#!/usr/bin/env python3
"""Stands in for weir-worker, weir-frontend and shm_inspect in tests of scripts/supervisor.

Its name decides what it is. It reports each step as a JSON datagram to $FAKE_FOLDER/events, and
behaves as the file $FAKE_FOLDER/<name> says when it starts (default: ready):

    ready        says so, ends with 0 at SIGTERM
    silent       lives and is never ready
    stubborn     ready, ignores SIGTERM
    exit N       ends at once with status N, before it is ready
    crash-ready  ends with status 1 as soon as it was ready
"""
import json
import os
import signal
import socket
import sys
import time

NAME = os.path.basename(sys.argv[0])
FOLDER = os.environ["FAKE_FOLDER"]


def flag(name):
    """The last value of --name: later flags beat earlier ones, as in proto/settings.h."""
    values = [sys.argv[i + 1] for i, word in enumerate(sys.argv[:-1]) if word == "--" + name]
    return values[-1] if values else None


def behaviour(default):
    try:
        with open(os.path.join(FOLDER, NAME), encoding="utf-8") as file:
            return file.read().split()
    except FileNotFoundError:
        return [default]


def report(event, **more):
    message = {"program": NAME, "event": event, "pid": os.getpid(), "lane": flag("lane"),
               "segment": flag("segment"), **more}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as events:
        events.sendto(json.dumps(message).encode(), os.path.join(FOLDER, "events"))


def inspect():
    if sys.argv[1] == "last-words":
        print("it was the gardener")
    if sys.argv[1] != "health":
        return 0
    print("the worker has hay fever")
    return int(behaviour("0")[0])


def serve():
    todo = behaviour("ready")
    if todo[0] == "exit":
        print("a sentence that says what is wrong", file=sys.stderr)
        return int(todo[1])
    terminated = []
    signal.signal(signal.SIGTERM, lambda *_: terminated.append(1))
    if NAME == "weir-worker":
        with open(flag("segment"), "a", encoding="utf-8"):
            pass
    report("started", argv=sys.argv[1:], parent=os.getppid())
    if todo[0] != "silent":
        ready_fd = int(flag("ready-fd"))
        os.write(ready_fd, b"\n")
        os.close(ready_fd)
    if todo[0] == "crash-ready":
        return 1
    while not terminated or todo[0] == "stubborn":
        time.sleep(0.005)
    report("terminated")
    return 0


if __name__ == "__main__":
    if "--help" in sys.argv:
        sys.exit(print("flags"))
    sys.exit(inspect() if NAME == "shm_inspect" else serve())
