"""``python -m workers.backends.emulator --port P``: the whole emulated fleet in one process."""

import argparse
import sys

from aiohttp import web

from workers.backends.emulator.fleet import WORKERS
from workers.backends.emulator.server import make_app

HOST = "127.0.0.1"


def main() -> int:
    """Serve until SIGTERM or SIGINT; 1 with one line when the port is taken."""
    parser = argparse.ArgumentParser(prog="python -m workers.backends.emulator")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1, help="of the jitter of service times")
    arguments = parser.parse_args()
    app = make_app(seed=arguments.seed)
    print(f"emulator: {len(WORKERS)} emulated workers on port {arguments.port}", flush=True)
    try:
        web.run_app(
            app,
            host=HOST,
            port=arguments.port,
            print=lambda *_: None,
            access_log=None,
            # A client that goes away frees its slot: the cancel must reach the handler.
            handler_cancellation=True,
            shutdown_timeout=2.0,
        )
    except OSError as error:
        print(f"emulator: {error.strerror} (port {arguments.port})", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
