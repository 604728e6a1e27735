"""A body that is passed on is held up to a bound, whatever its client sends."""

import pytest

from router.ingress.http.inflow import HELD_BYTES_MAX, Inflow

READ = b"x" * 65_536
"""What one read of a socket brings."""


class Socket:
    """A client that sends whenever it may."""

    def __init__(self) -> None:
        self.may_send = True

    def want_body(self) -> None:
        pass

    def pause(self) -> None:
        self.may_send = False

    def resume(self) -> None:
        self.may_send = True


async def test_a_client_is_held_up_at_the_bound_and_goes_on_below_it() -> None:
    socket, inflow = Socket(), Inflow(1 << 30, has_body=True)
    inflow.connect(socket)

    def filled() -> int:
        before = inflow.size
        while socket.may_send:
            inflow.feed(READ)
        return inflow.size - before

    assert filled() == HELD_BYTES_MAX
    for _ in range(100):
        assert await inflow.read() == READ
        assert filled() == len(READ)


@pytest.mark.parametrize("has_body", [True, False])
async def test_who_reads_no_more_holds_nobody_up(has_body: bool) -> None:
    socket, inflow = Socket(), Inflow(1 << 30, has_body=has_body)
    inflow.connect(socket)
    while socket.may_send:
        inflow.feed(READ)
    inflow.close()
    assert socket.may_send
