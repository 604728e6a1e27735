"""Become a server that ends with its agent, however that ends.

Run as a script between the agent and the server, so that none of this happens in the fork of a
process with threads: ``python -IS child.py AGENT_PID -- ARGV…``.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
EXIT_ORPHANED = 120
EXIT_NO_PROGRAM = 127


def prefix() -> list[str]:
    """The words before a command that make it a child of this process."""
    return [sys.executable, "-IS", os.path.abspath(__file__), str(os.getpid()), "--"]


def main() -> None:
    """Never returns."""
    agent, argv = int(sys.argv[1]), sys.argv[3:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != agent:
        sys.exit(EXIT_ORPHANED)
    try:
        os.execvp(argv[0], argv)  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"cannot run {argv[0]}: {error.strerror}\n")
        sys.exit(EXIT_NO_PROGRAM)


if __name__ == "__main__":
    main()
