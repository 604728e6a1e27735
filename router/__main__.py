"""``python -m router``: the marketplace's router, or a standalone one over a fleet file.

python -m router                                           settings from the environment
python -m router --fleet FILE.json --port 8080 --key KEY   no marketplace, no database
python -m router --settle                                  of one that will not come back
"""

import argparse
import gc
import os
import sys
from pathlib import Path

import uvloop

from router.app import serve, settle
from router.domain.errors import LedgerUnavailable
from router.logs import configure_logs
from router.ports.taken import Taken
from router.settings import (
    Settings,
    SettingsInvalid,
    check_ports,
    settings_from_env,
    standalone_settings,
)

GC_THRESHOLDS = 10_000, 20, 50
LOOKUP_THREADS = 16
"""libuv looks up names in half of its threads, of which it has four if nobody says otherwise."""


def main() -> int:
    """Parse, serve, and report a bad setting in one clear line with exit status 2."""
    arguments = _parser().parse_args()
    try:
        configure_logs(os.environ)
        settings = _settings(arguments)
        if arguments.settle:
            uvloop.run(settle(settings))
            return 0
        check_ports(settings)
        calm_garbage_collector()
        os.environ.setdefault("UV_THREADPOOL_SIZE", str(LOOKUP_THREADS))
        uvloop.run(serve(settings))
    except (SettingsInvalid, Taken, LedgerUnavailable) as error:
        return _refused(error)
    except BaseExceptionGroup as group:
        taken = group.subgroup(Taken)
        if taken is None:
            raise
        return _refused(_first(taken))
    return 0


def _refused(error: Exception) -> int:
    print(f"router: {error}", file=sys.stderr)
    return 2


def _first(group: BaseExceptionGroup[Taken]) -> Taken:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def calm_garbage_collector() -> None:
    """Collect cycles rarely: calls make hardly any, and each collection pauses the router."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _settings(arguments: argparse.Namespace) -> Settings:
    if arguments.fleet is None:
        return settings_from_env()
    return standalone_settings(
        fleet_path=arguments.fleet,
        host=arguments.host,
        port=arguments.port,
        grpc_port=arguments.grpc_port,
        key=arguments.key,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m router", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--fleet", type=Path, metavar="FILE.json", help="a static fleet")
    parser.add_argument(
        "--settle",
        action="store_true",
        help="serve nobody: settle what is left in the journal, return the credit, and end",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--grpc-port", type=int, default=0, help="OIP over gRPC; 0 is nowhere")
    parser.add_argument("--key", default="", help="the key that callers must send (with --fleet)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
