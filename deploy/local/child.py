"""Become a service: drop root, die with the launcher, exec.

Run as a script between the launcher and a service, so that none of this happens in a
`preexec_fn` of a threaded process:

    python -IS child.py LAUNCHER_PID SIGNAL USER REACH -- ARGV...

SIGNAL is what the kernel sends to the service when its launcher dies (a number), USER is "-"
or the account to become, and REACH is "1" when that account must pass through folders that
only root may enter (a clone under /root).
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
LINUX_CAPABILITY_VERSION_3 = 0x20080522

EXIT_ORPHANED = 120
EXIT_NO_PROGRAM = 127


def prefix(
    stop_signal: signal.Signals, *, user: str | None = None, reach: bool = False
) -> list[str]:
    """Return the argv prefix that turns a command into a child of this process."""
    return [
        sys.executable,
        "-IS",
        os.path.abspath(__file__),
        str(os.getpid()),
        str(int(stop_signal)),
        user or "-",
        "1" if reach else "0",
        "--",
    ]


def _become(user: str, reach: bool) -> None:
    account = pwd.getpwnam(user)
    libc = ctypes.CDLL(None, use_errno=True)
    if reach:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    if reach:
        # One capability survives the change of user: passing through closed folders. Where
        # the container withholds it, this fails quietly and the service says what it can't read.
        header = (ctypes.c_uint32 * 2)(LINUX_CAPABILITY_VERSION_3, 0)
        bit = 1 << CAP_DAC_OVERRIDE
        sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
        if libc.capset(header, sets) == 0:
            libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def main() -> None:
    """Do what the module says and become ARGV."""
    launcher_pid, stop_signal, user, reach = sys.argv[1:5]
    argv = sys.argv[6:]
    if user != "-":
        _become(user, reach == "1")
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
