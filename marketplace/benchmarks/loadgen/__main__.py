"""``python -m marketplace.benchmarks.loadgen OUT``: one LoadGen test. Its request is the first
line of standard input (:mod:`.messages`); it ends with standard input, so that it never outlives
its parent.

A report a half second goes to standard output, the last of them with the verdict or the error. It
is a process because LoadGen is global to a process, calls from threads of C++, and
must be stopped for live traffic at any moment.
"""

import os
import sys
import threading
from pathlib import Path

import msgspec

from marketplace.benchmarks.loadgen.callers import caller_of
from marketplace.benchmarks.loadgen.messages import Failed, Report, Request
from marketplace.benchmarks.loadgen.system_under_test import run_point


def main() -> int:
    """Run the point; 1 when it could not be run, with the reason as the last line."""
    out = Path(sys.argv[1])
    line = sys.stdin.readline()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        request = msgspec.json.decode(line, type=Request)
        caller = caller_of(request.plan, request.servers, request.inputs, tuple(request.headers))
        _say(run_point(request.plan, request.load, caller, out, _say))
    except Exception as error:  # noqa: BLE001 # every error is reported to the parent
        _say(Failed(f"{type(error).__name__}: {error}"[:400]))
        return 1
    return 0


def _say(report: Report) -> None:
    print(msgspec.json.encode(report).decode(), flush=True)  # it is the protocol


def _end_with_parent() -> None:
    while sys.stdin.read(1):
        pass
    os._exit(1)


if __name__ == "__main__":
    # LoadGen's threads and ours are not joined: the results are on disk and printed.
    status = main()
    sys.stdout.flush()
    os._exit(status)
