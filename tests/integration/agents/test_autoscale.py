"""The local scaler, with real agents that run emulated workers."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from django.conf import settings as django_settings

from tests.integration.agents.conftest import POOL, Market
from tests.ports import free_ports

AGENT = (
    "--engine triton --task tensors --slots 2 --path /emulated-h100-0"
    f" --command '{sys.executable} -m workers.backends.emulator --port {{port}}'"
)


@pytest.mark.nightly
def test_workers_come_as_they_are_wished_for_and_drain_as_they_are_not(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from marketplace.agents.models import AgentWorker
    from marketplace.catalog.models import Pool
    from marketplace.planning.scaling.local import LocalScaler
    from marketplace.planning.scaling.selectors import Scale
    from marketplace.planning.scaling.steadier import Steadier

    monkeypatch.setattr(django_settings, "WAYPOST_PUBLIC_URL", market.web_url)
    scaler = LocalScaler(
        pool=Pool.objects.get(name=POOL),
        words=shlex.split(AGENT),
        folder=tmp_path,
        first_port=free_ports(1)[0],
        steadier=Steadier(down_after_s=0.0),
    )

    def desired(count: int | None) -> int:
        return scaler.round(Scale(POOL, emulated=False, workers=0, desired=count))

    try:
        assert desired(2) == 2
        market.probed_until(lambda: len(scaled(market)) == 2)
        assert desired(None) == 2, "nothing is known: nothing changes"
        assert desired(1) == 1
        market.probed_until(lambda: len(scaled(market)) == 1)
        assert desired(0) == 0
    finally:
        scaler.close()
    assert scaled(market) == set()
    mine = AgentWorker.objects.filter(agent__name__startswith=f"{POOL}-scaled-")
    assert set(mine.values_list("state", flat=True)) == {"gone"}


def scaled(market: Market) -> set[str]:
    return {name for name in market.routed() if name.startswith(f"{POOL}-scaled-")}
