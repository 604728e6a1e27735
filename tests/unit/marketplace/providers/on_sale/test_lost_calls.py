"""Why a call went elsewhere, out of what its record keeps."""

from datetime import UTC, datetime
from typing import Any

import pytest

from marketplace.catalog.verdicts import VERDICTS
from marketplace.providers.on_sale.lost_calls import REMEDIES, Decision, Lost, Reason, reason_of
from router.domain.verdict import Verdict

AT = datetime(2026, 11, 1, tzinfo=UTC)


def candidate(
    verdict: str, *, wait: float = 0.0, service: float = 100.0, score: float = 1.0
) -> dict[str, Any]:
    return {"verdict": verdict, "wait_ms": wait, "service_ms": service, "score": score}


def decision(*mine: dict[str, Any], served: bool = False, tried: bool = False) -> Decision:
    return Decision(AT, served, tried, mine, candidate("chosen", score=0.5))


@pytest.mark.parametrize(
    ("mine", "reason"),
    [
        ((candidate("busy", wait=50),), Reason.BUSY),
        ((candidate("tied"),), Reason.TIED),
        ((candidate("slower", service=150),), Reason.SLOWER),
        # As fast by time and worse by score: what counted was money, or the caller's order.
        ((candidate("slower", service=90),), Reason.DEARER),
        ((candidate("unhealthy"),), Reason.UNHEALTHY),
        ((candidate("draining"),), Reason.UNHEALTHY),
        ((candidate("ignored"),), Reason.NOT_WANTED),
        ((candidate("data_collection"),), Reason.DATA),
        ((), Reason.EJECTED),
        # Of several workers the best one counts, and one that could be asked before one that not.
        ((candidate("busy", wait=9, score=3), candidate("slower", service=200, score=2)), "slower"),
        ((candidate("unhealthy", score=0), candidate("busy", wait=9, score=3)), "busy"),
    ],
)
def test_the_reason_of_a_call_that_went_elsewhere(
    mine: tuple[dict[str, Any], ...], reason: Reason
) -> None:
    assert reason_of(decision(*mine)) == reason


def test_each_verdict_has_its_words_and_a_reason() -> None:
    assert set(VERDICTS) == set(Verdict)
    for verdict in set(Verdict) - {Verdict.CHOSEN}:
        reason = reason_of(decision(candidate(verdict, service=150)))
        assert reason not in (Reason.WON, Reason.EJECTED, Reason.FAILED), verdict


def test_a_call_that_came_here_was_won_and_one_that_broke_here_failed() -> None:
    assert reason_of(decision(candidate("chosen"), served=True, tried=True)) is Reason.WON
    assert reason_of(decision(candidate("slower"), tried=True)) is Reason.FAILED


def test_shares_are_of_what_was_lost() -> None:
    lost = Lost(10, AT, {Reason.WON: 4, Reason.BUSY: 2, Reason.SLOWER: 4}, ())
    assert [row[:3] for row in lost.rows] == [
        (Reason.SLOWER, 4, pytest.approx(2 / 3)),
        (Reason.BUSY, 2, pytest.approx(1 / 3)),
    ]
    assert lost.lost == 6
    assert set(REMEDIES) <= set(Reason)
