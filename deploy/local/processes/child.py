"""Become a service: drop root, die with the launcher, exec.

Run as a script between the launcher and a service, so that none of this happens in a
`preexec_fn` of a threaded process:

    python -IS child.py LAUNCHER_PID SIGNAL USER FOLDER -- ARGV...

SIGNAL is what the kernel sends to the service when its launcher dies (a number), USER is "-"
or the account to become, and FOLDER is "-" or what the service finds at OPENED, although that
account may not enter the folders above it (a clone under /root).
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
OPENED_DESCRIPTOR = 9
# A path over an open folder needs no right to enter those above it. A capability would not do:
# access(), by which programs look before they open, counts none of a user who is not root.
OPENED = f"/proc/self/fd/{OPENED_DESCRIPTOR}"

EXIT_NO_USER = 119
EXIT_ORPHANED = 120
EXIT_NO_PROGRAM = 127


def prefix(
    stop_signal: signal.Signals, *, user: str | None = None, folder: Path | None = None
) -> list[str]:
    """Return the argv prefix that turns a command into a child of this process."""
    return [
        sys.executable,
        "-IS",
        os.path.abspath(__file__),
        str(os.getpid()),
        str(int(stop_signal)),
        user or "-",
        str(folder or "-"),
        "--",
    ]


def _open(folder: str) -> None:
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    os.dup2(opened, OPENED_DESCRIPTOR, inheritable=True)


def _become(user: str) -> None:
    account = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def main() -> None:
    """Do what the module says and become ARGV."""
    launcher_pid, stop_signal, user, folder = sys.argv[1:5]
    argv = sys.argv[6:]
    if folder != "-":
        _open(folder)
    if user != "-":
        try:
            _become(user)
        except OSError as error:
            reason = f"root cannot become {user} here ({error.strerror})"
            print(f"error: {reason}: run as an ordinary user", file=sys.stderr)
            sys.exit(EXIT_NO_USER)
    # After the change of user, which clears it. It belongs to the launcher's *thread*: the
    # launcher starts services from its main thread only.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(stop_signal), 0, 0, 0)
    if os.getppid() != int(launcher_pid):
        sys.exit(EXIT_ORPHANED)
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        print(f"cannot run {argv[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(EXIT_NO_PROGRAM)


if __name__ == "__main__":
    main()
