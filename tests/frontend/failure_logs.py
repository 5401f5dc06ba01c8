"""A test that fails must let one find the cause: unittest.main(), and what the servers said.

Servers and loads remember themselves here; once a failed test has cleaned up after itself, so that
their logs are whole, all they said is printed below its name.
"""
import datetime
import sys
import unittest

LINES_MAX = 400  # of one log: its beginning and its end

_witnesses = []  # (name, tell, has_ended)


def remember(name, tell, has_ended):
    """`tell` gives the text to print, should a test fail. Before the next test who `has_ended` is
    forgotten; a server that several tests share has not."""
    _witnesses.append((name, tell, has_ended))


def now():
    """The time as log lines have it."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%H:%M:%S.%fZ")


def shortened(text):
    lines = text.splitlines()
    if len(lines) > LINES_MAX:
        half = LINES_MAX // 2
        lines[half:-half] = [f"... {len(lines) - LINES_MAX} lines ..."]
    return "\n".join(lines)


class Result(unittest.TextTestResult):
    """Prints what is remembered when a test failed."""

    def n_bad(self):
        return len(self.failures) + len(self.errors)

    def startTest(self, test):  # pylint: disable=invalid-name
        _witnesses[:] = [witness for witness in _witnesses if not witness[2]()]
        self.n_bad_before = self.n_bad()
        super().startTest(test)

    def stopTest(self, test):  # pylint: disable=invalid-name
        super().stopTest(test)
        if self.n_bad() > self.n_bad_before:
            for _, trace in [*self.failures, *self.errors]:  # now: a time-out may end us later
                self.stream.writeln(f"\n{trace}")
            for name, tell, _ in _witnesses:
                self.stream.writeln(f"\n---- {test.id()}, until {now()}: {name} said ----")
                self.stream.writeln(shortened(tell()))
            self.stream.flush()


def main(**options):
    """unittest.main() with that."""
    unittest.main(module="__main__",
                  testRunner=unittest.TextTestRunner(stream=sys.stderr, resultclass=Result),
                  **options)
