"""``python -m tests.bench.batches``: a million rows in one batch, beside the same rows straight.

The demo's fraud scorer on real Tritons, of the local stack that runs or of one of its own. In one
run: the rows directly to the Tritons in calls of the best size; interactive calls of the model
without a batch; the rows in one batch while the same interactive calls go on. ``--write FILE`` puts
the table between the markers of a document.

``--kill N`` instead kills processes of its own stack N times, in turn, while a batch of calls runs
(``--of``), and counts answers and charges. Exit status 1 when a line has not exactly one of each.
"""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

from tests.bench.batches import kills, rows
from tests.bench.batches.site import Site, running_site
from tests.bench.drift.__main__ import write_between
from tests.local_stack import ROOT, running_stack


def main() -> int:
    """Find a stack or start one, and measure or kill."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.batches",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the file")
    parser.add_argument("--seconds", type=float, default=20.0, help="of calls without a batch")
    parser.add_argument("--rate", type=float, default=20.0, help="interactive calls a second")
    parser.add_argument("--home", type=Path, default=ROOT / ".waypost", help="state folder")
    parser.add_argument("--own-stack", action="store_true", help="start one though another runs")
    parser.add_argument("--kill", type=int, default=0, metavar="N", help="kill so many times")
    parser.add_argument("--lines", type=int, default=10_000, help="of the batch that is killed")
    parser.add_argument(
        "--of",
        default="jobs-work",
        metavar="A,B",
        help=f"what to kill: {', '.join(kills.SERVICES)}",
    )
    parser.add_argument("--write", type=Path, metavar="FILE.md")
    options = parser.parse_args()
    killed = options.of.split(",")
    if unknown := set(killed) - set(kills.SERVICES):
        parser.error(f"--of: there is no {', '.join(sorted(unknown))}")
    with contextlib.ExitStack() as stack:
        site = None if options.own_stack else running_site(options.home)
        if site is None:
            print("bench: starting a stack of its own", flush=True)
            home = Path(stack.enter_context(tempfile.TemporaryDirectory()), "home")
            local = stack.enter_context(running_stack(home, "--no-emulated"))
            site = Site(local.home)
        if options.kill:
            text, is_well = kills.run(site, options.lines, options.kill, killed)
        else:
            text, is_well = rows.run(site, options.rows, options.seconds, options.rate), True
        # Now: a stack that does not end in time must not take the result with it.
        print(text, flush=True)
    if options.write is not None:
        write_between(options.write, "batch kills" if options.kill else "batch rows", text)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
