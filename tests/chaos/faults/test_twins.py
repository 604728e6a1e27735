"""Two routers with the same id cannot damage the books: one is refused."""

import subprocess
import sys

import pytest

from tests.chaos.clients import call
from tests.chaos.market import Market
from tests.chaos.processes import Router
from tests.local_stack import ROOT
from tests.ports import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.chaos]


def twin(router: Router, **changes: str) -> str:
    """The message of a second router, which is refused."""
    done = subprocess.run(
        [sys.executable, "-m", "router"],
        cwd=ROOT,
        env={**router.env, **changes},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    return done.stderr


async def test_a_router_with_the_name_or_the_folder_of_another_is_refused(shop: Market) -> None:
    shop.hire(1)
    shop.publish()
    shop.open(1)
    (router,) = shop.routers
    assert "WAYPOST_HOME" in twin(router, ROUTER_HOST="127.0.0.2")
    elsewhere = str(shop.home / "elsewhere")
    (port,) = free_ports(1)
    assert "ROUTER_ID" in twin(router, WAYPOST_HOME=elsewhere, ROUTER_PORT=str(port))
    assert (await call(router.port, "on")).status == 200
    shop.close()
