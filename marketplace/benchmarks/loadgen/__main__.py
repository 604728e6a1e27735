"""``python -m marketplace.benchmarks.loadgen OUT``: one LoadGen test. Its request is the first
line of standard input, as JSON; it ends with standard input, so that it never outlives its parent.

One line of JSON a half second goes to standard output, the last of them with ``result`` or
``error``. It is a process because LoadGen is global to a process, calls from threads of C++, and
must be stopped for live traffic at any moment.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from marketplace.benchmarks.loadgen.callers import Server, caller_of
from marketplace.benchmarks.loadgen.plan import plan_of
from marketplace.benchmarks.loadgen.system_under_test import Progress, run_point


def main() -> int:
    """Run the point; 1 when it could not be run, with the reason as the last line."""
    out = Path(sys.argv[1])
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        settings = dict(request["plan"])
        plan = plan_of(settings.pop("task"), settings)
        servers = [Server(**server) for server in request["servers"]]
        headers = tuple((str(name), str(value)) for name, value in request["headers"])
        caller = caller_of(plan, servers, request["inputs"], headers)
        result = run_point(plan, float(request["load"]), caller, out, _report)
    except Exception as error:  # noqa: BLE001 # the parent is told, whatever it was
        _say(error=f"{type(error).__name__}: {error}"[:400])
        return 1
    _say(result=result)
    return 0


def _report(progress: Progress) -> None:
    _say(**asdict(progress))


def _say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)  # it is the protocol


def _end_with_parent() -> None:
    while sys.stdin.read(1):
        pass
    os._exit(1)


if __name__ == "__main__":
    # LoadGen's threads and ours are not joined: the results are on disk and printed.
    status = main()
    sys.stdout.flush()
    os._exit(status)
