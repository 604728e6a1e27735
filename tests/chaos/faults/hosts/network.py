"""Hosts of one machine: network namespaces on a switch, which is in a namespace of its own."""

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

SWITCH = "switch"
BRIDGE = "bridge0"
NETWORK = "10.77.0"
CLONE_NEWNET = 0x40000000
NAMESPACES = Path("/run/netns")


def missing() -> str:
    """Why there can be no hosts here; "" where there can."""
    if not shutil.which("ip") or not shutil.which("bridge"):
        return "hosts need the commands ip and bridge (Debian: iproute2)"
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        return "hosts need the right to make network namespaces (root, CAP_SYS_ADMIN)"
    return ""


class Network:
    """Hosts that reach each other by address, until one is cut off."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = tuple(hosts)
        self._prefix = f"waypost-{os.getpid()}-"

    def address(self, host: str) -> str:
        return f"{NETWORK}.{self._hosts.index(host) + 2}"

    def on(self, host: str, words: Sequence[str]) -> list[str]:
        """The command that runs a command on a host. It becomes that command, by exec."""
        return ["ip", "netns", "exec", self._prefix + host, *words]

    def make(self) -> None:
        for name in (SWITCH, *self._hosts):
            _run("ip", "netns", "add", self._prefix + name)
            self._ip(name, "link", "set", "lo", "up")
        self._ip(SWITCH, "link", "add", BRIDGE, "type", "bridge")
        self._ip(SWITCH, "address", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        self._ip(SWITCH, "link", "set", BRIDGE, "up")
        for host in self._hosts:
            cable = ("type", "veth", "peer", "name", "eth0", "netns", self._prefix + host)
            self._ip(SWITCH, "link", "add", host, *cable)
            self._ip(host, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
            self._ip(host, "link", "set", "eth0", "up")
            self._ip(SWITCH, "link", "set", host, "master", BRIDGE, "up")

    def remove(self) -> None:
        for name in (SWITCH, *self._hosts):
            subprocess.run(["ip", "netns", "delete", self._prefix + name], check=False)

    def cut(self, host: str) -> None:
        """Drop all that it sends and is sent. Nobody is told: its link stays up."""
        self._port(host, "disabled")

    def heal(self, host: str) -> None:
        self._port(host, "forwarding")

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """This thread, and what it starts, is on a host (or on the switch) during the block."""
        with Path("/proc/thread-self/ns/net").open() as before:
            with (NAMESPACES / (self._prefix + name)).open() as there:
                _enter(there.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    def _port(self, host: str, state: str) -> None:
        _run("bridge", "-n", self._prefix + SWITCH, "link", "set", "dev", host, "state", state)

    def _ip(self, name: str, *words: str) -> None:
        _run("ip", "-n", self._prefix + name, *words)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, timeout=60)


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
