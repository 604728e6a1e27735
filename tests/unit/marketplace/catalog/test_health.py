"""What counts of a round of probes."""

from datetime import UTC, datetime

from marketplace.catalog.health import readings_that_count
from marketplace.catalog.models import Worker
from marketplace.catalog.services import HealthReading

AT = datetime(2026, 11, 1, tzinfo=UTC)


def worker(
    pk: int, host: str, *, error: str = "", healthy: bool = True, asked_before: bool = True
) -> Worker:
    checked_at = AT if asked_before else None
    told = {"healthy": healthy, "health_error": error, "health_checked_at": checked_at}
    return Worker(pk=pk, url=f"http://{host}:1", **told)


def unreached(*pks: int) -> list[HealthReading]:
    return [HealthReading(pk, "ConnectTimeout", reached=False) for pk in pks]


def test_where_no_host_is_reached_it_is_the_prober_that_is_cut_off() -> None:
    assert readings_that_count([worker(1, "a"), worker(2, "b")], unreached(1, 2)) == []


def test_one_that_was_not_reached_once_before_is_still_taken_to_be_well() -> None:
    doubtful = [worker(1, "a", error="its agent was last heard 16 s ago"), worker(2, "b")]
    assert readings_that_count(doubtful, unreached(1, 2)) == []


def test_one_host_alone_or_one_that_is_reached_says_that_the_others_are_down() -> None:
    alone = unreached(1, 2)
    assert readings_that_count([worker(1, "a"), worker(2, "a")], alone) == alone
    for second in (HealthReading(2), HealthReading(2, "GET /health: HTTP 503")):
        readings = [*unreached(1), second]
        assert readings_that_count([worker(1, "a"), worker(2, "b")], readings) == readings


def test_what_was_never_well_is_still_found_to_be_down() -> None:
    new = worker(1, "a", asked_before=False)
    sick = worker(2, "b", error="ConnectTimeout", healthy=False)
    readings = unreached(1, 2, 3)
    assert readings_that_count([new, sick, worker(3, "c")], readings) == readings[:2]
