"""Ports that are given and checked."""

import socket
from pathlib import Path

import pytest

from deploy.local.launching.launch import LaunchError, check_ports
from deploy.local.processes import ports
from deploy.local.services.stack import Options


def test_no_port_is_given_twice() -> None:
    given = [ports.free_ports(1)[0] for _ in range(600)]
    assert len(set(given)) == len(given)


def test_free_ports_differ_and_a_listener_is_noticed() -> None:
    first, second = ports.free_ports(2)
    assert first != second
    assert ports.is_free(first)
    with socket.socket() as taken:
        taken.bind((ports.HOST, first))
        taken.listen()
        assert not ports.is_free(first)
        assert ports.accepts(first)
    assert not ports.accepts(second)


def test_one_port_cannot_serve_both(home: Path) -> None:
    port, grpc = ports.free_ports(2)
    with pytest.raises(LaunchError, match=f"--port and --router-port both need {port}"):
        check_ports(Options(home, web_port=port, router_port=port, router_grpc_port=grpc))


def test_a_port_of_its_own_that_a_router_cannot_have_is_named(home: Path) -> None:
    grpc, _, port = ports.free_ports(3)
    options = Options(home, web_port=port + 2, router_port=port, router_grpc_port=grpc, routers=2)
    with pytest.raises(LaunchError, match=f"--port and --router-port both need {port + 2}"):
        check_ports(options)
