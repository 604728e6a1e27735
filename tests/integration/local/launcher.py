"""A launcher for the tests to kill: two services, one of them stubborn, in its own loop.

    python -m tests.integration.local.launcher FOLDER

Writes FOLDER/pids.json once both run. `stubborn` ignores SIGTERM and has its own child.
"""

import json
import sys
from pathlib import Path

from deploy.local.processes import child
from deploy.local.services import supervisor
from deploy.local.services.supervisor import Service, Supervisor

STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    while True: time.sleep(60)
while True: time.sleep(60)
"""


def main() -> None:
    folder = Path(sys.argv[1])
    # The test waits for the SIGKILL that follows the grace.
    supervisor.REAPER_GRACE_S = 0.5
    services = [
        Service("plain", (*child.prefix(supervisor.signal.SIGTERM), "sleep", "600")),
        Service(
            "stubborn",
            (*child.prefix(supervisor.signal.SIGTERM), sys.executable, "-c", STUBBORN),
        ),
    ]
    launcher = Supervisor(services, logs=folder / "logs", cwd=folder)
    launcher.start()
    pids = {state.name: state.process.pid for state in launcher.states if state.process}
    partial = folder / "pids.partial"
    partial.write_text(json.dumps(pids))
    partial.rename(folder / "pids.json")
    launcher.watch()


if __name__ == "__main__":
    main()
