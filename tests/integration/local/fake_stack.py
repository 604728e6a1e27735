"""`manage.py` with a stack of two small web servers: for tests of up, down and status.

    python -m tests.integration.local.fake_stack up --home DIR ...

FAKE_STACK=broken makes the second service leave before it is ready, FAKE_STACK=disk-full makes
it complain of a full disk, FAKE_STACK=fault is a fault of the launcher's own.
"""

import os
import signal
import sys

from django.conf import settings

import manage
from deploy.local.launching import detached
from deploy.local.processes import child
from deploy.local.processes.health import answers_http
from deploy.local.services import stack
from deploy.local.services.stack import Options, Stack
from deploy.local.services.supervisor import Service

COMPLAINTS = {
    "broken": "ImportError: no module named nothing",
    "disk-full": "FATAL: could not write file: No space left on device",
}


def http_server(port: int) -> tuple[str, ...]:
    words = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port))
    return (*child.prefix(signal.SIGTERM), *words)


def build(options: Options, secrets: object) -> Stack:
    router = Service(
        "router", http_server(options.router_port), answers_http(options.router_port, "/")
    )
    web = Service(
        "web", http_server(options.web_port), answers_http(options.web_port, "/"), needs=("router",)
    )
    mode = os.environ.get("FAKE_STACK", "")
    if mode == "fault":
        raise KeyError("nobody thought of this")
    if mode in COMPLAINTS:
        script = f"echo '{COMPLAINTS[mode]}' >&2; exit 1"
        web = Service(
            "web",
            (*child.prefix(signal.SIGTERM), "sh", "-c", script),
            ready=lambda log: False,
            needs=("router",),
        )
    return Stack((router, web), {"WAYPOST_FAKE": "1"})


def main() -> None:
    stack.build = build
    detached.LAUNCHER = (sys.executable, "-m", "tests.integration.local.fake_stack")
    settings.configure(INSTALLED_APPS=["deploy.local"], USE_TZ=True)
    manage.main()


if __name__ == "__main__":
    main()
