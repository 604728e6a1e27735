"""What is learned is on the disk when the router ends, and nothing about it stops a start."""

import asyncio
import logging
import random
from pathlib import Path

import msgspec
import pytest

from router.adapters.learned_file import LearnedFile
from router.contracts.learned import KeptLearned, Learned, LearnedCounts
from router.domain.catalog import Endpoint
from router.domain.pricing import Usage
from router.pipeline.attempts.dispatch import Dispatcher
from router.pipeline.fleet.remembering import Remembering
from router.pipeline.holds.counting import RATIO_MAX, TEMPLATE_MAX, TOLERANCE, WorkerCounts
from router.scheduling.attempts.endings import ANSWERED
from router.scheduling.scheduler import Scheduler
from router.settings import SettingsInvalid, limits_from_env
from tests.unit.router.pipeline.holds.test_counting import asked
from tests.unit.router.pipeline.line import in_time
from tests.unit.router.pipeline.routers import Clock
from tests.unit.router.scheduling.fleets import endpoint, place

DAY_S = 86_400.0
SAVED_S = 1.7e9
ONE = endpoint("one", service_ms=0)


class Life:
    """One life of a router, as far as this goes."""

    def __init__(
        self, path: Path, *catalog: Endpoint, clock: Clock, interval_s: float = 1e9
    ) -> None:
        self.scheduler = Scheduler(queue_max=10, random=random.Random(1).random)
        self._catalog = catalog
        self._dispatcher = Dispatcher(self.scheduler, {}, clock=Clock())
        self.counts = WorkerCounts()
        self.remembering = Remembering(
            self._dispatcher,
            self.counts,
            LearnedFile(path),
            age_max_s=DAY_S,
            clock=clock,
            interval_s=interval_s,
        )

    async def start(self) -> None:
        await self.remembering.recall()
        self._dispatcher.apply(self._catalog)

    def answer(self, took_s: float) -> None:
        self.scheduler.ended(place(self.scheduler, "t", "one"), ANSWERED, took_s)

    @property
    def is_guess(self) -> bool:
        return self.scheduler.fleet.endpoints["one"].estimate.is_guess


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "learned" / "8080.json"


@pytest.fixture
def clock() -> Clock:
    made = Clock()
    made.now_s = SAVED_S
    return made


async def learned(path: Path, clock: Clock, took_s: float = 0.5) -> Life:
    """A life that has answered one call, and kept what that taught."""
    life = Life(path, ONE, clock=clock)
    await life.start()
    life.answer(took_s)
    await life.remembering.save()
    return life


def damage(path: Path, body: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(body)


def test_a_file_is_nobody_elses_and_alone_whatever_happened(path: Path) -> None:
    path.mkdir(parents=True)  # In place of the file.
    kept, file = KeptLearned(SAVED_S, Learned()), LearnedFile(path)
    with pytest.raises(IsADirectoryError):
        file.save(kept)
    assert list(path.parent.iterdir()) == [path], "something was left behind"
    path.rmdir()
    assert file.load() is None
    file.save(kept)
    assert file.load() == kept
    assert path.stat().st_mode & 0o777 == 0o600


async def test_an_orderly_end_keeps_what_was_learned(path: Path, clock: Clock) -> None:
    life = Life(path, ONE, clock=clock)
    await life.start()
    keeping = asyncio.create_task(life.remembering.run())
    await asyncio.sleep(0)
    life.answer(0.5)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    again = Life(path, ONE, clock=clock)
    await again.start()
    assert again.scheduler.fleet.endpoints["one"].estimate.seconds == 0.5


async def test_a_router_that_is_killed_has_kept_what_it_learned_before(
    path: Path, clock: Clock
) -> None:
    life = Life(path, ONE, clock=clock, interval_s=0.001)
    await life.start()
    life.answer(0.5)
    keeping = asyncio.create_task(life.remembering.run())
    await in_time(path.exists)
    again = Life(path, ONE, clock=clock)
    await again.start()
    assert not again.is_guess
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_a_file_is_believed_up_to_its_age(path: Path, clock: Clock) -> None:
    await learned(path, clock)
    for moved_s, is_guess in ((DAY_S, False), (DAY_S + 1, True), (-DAY_S - 1, True)):
        clock.now_s = SAVED_S + moved_s
        again = Life(path, ONE, clock=clock)
        await again.start()
        assert again.is_guess is is_guess


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\x00" * 400, b'{"schema": 99}', b'{"schema": 1, "saved_at_s": "now"}']
)
async def test_a_damaged_file_is_one_line_and_is_replaced(
    path: Path, clock: Clock, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    damage(path, body)
    again = await learned(path, clock)
    (line,) = caplog.records
    assert "left aside" in line.getMessage()
    assert line.exc_info is None
    kept = LearnedFile(path).load()
    assert kept == KeptLearned(SAVED_S, again.scheduler.learned())


async def test_a_disk_that_cannot_be_written_is_one_line(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    life = Life(tmp_path / "file" / "8080.json", ONE, clock=clock)
    await life.start()
    caplog.clear()
    for _ in range(5):
        life.answer(0.5)
        await life.remembering.save()
    assert [(record.levelno, record.exc_info) for record in caplog.records] == [
        (logging.ERROR, None)
    ]
    (tmp_path / "file").unlink()
    await life.remembering.save()
    assert LearnedFile(tmp_path / "file" / "8080.json").load() is not None


async def test_an_end_without_a_catalog_forgets_nothing(path: Path, clock: Clock) -> None:
    life = await learned(path, clock)
    life.scheduler.apply((), 1.0)
    await life.remembering.save()
    unlucky = Life(path, clock=clock)
    await unlucky.start()
    await unlucky.remembering.save()
    again = Life(path, ONE, clock=clock)
    await again.start()
    assert not again.is_guess


async def test_what_is_no_news_is_not_written_again(path: Path, clock: Clock) -> None:
    life = await learned(path, clock)
    clock.now_s += 60
    await life.remembering.save()
    kept = LearnedFile(path).load()
    assert kept is not None
    assert kept.saved_at_s == SAVED_S
    life.answer(0.7)
    await life.remembering.save()
    assert LearnedFile(path).load() == msgspec.structs.replace(
        kept, saved_at_s=SAVED_S + 60, learned=life.scheduler.learned()
    )


def test_keeping_is_turned_off_by_0_alone() -> None:
    assert limits_from_env({"ROUTER_LEARNED_MAX_AGE_S": "0"}).learned_max_age_s == 0
    with pytest.raises(SettingsInvalid, match="ROUTER_LEARNED_MAX_AGE_S=-1 must be positive or 0"):
        limits_from_env({"ROUTER_LEARNED_MAX_AGE_S": "-1"})
    with pytest.raises(SettingsInvalid, match=r"ROUTER_QUEUE_MAX=0 must be positive$"):
        limits_from_env({"ROUTER_QUEUE_MAX": "0"})


async def test_how_workers_count_outlives_a_restart(path: Path, clock: Clock) -> None:
    first = Life(path, ONE, clock=clock)
    await first.start()
    model, deployment = ONE.deployment.model, ONE.deployment.id
    request = msgspec.structs.replace(asked(), model=model)
    for _ in range(200):
        first.counts.weighed(deployment, request, Usage(700, 0, 150), 300)
    await first.remembering.save()
    second = Life(path, ONE, clock=clock)
    await second.start()
    assert second.counts.prompt_tokens(request) == first.counts.prompt_tokens(request)
    assert second.counts.ratio(model, "whole") == first.counts.ratio(model, "whole") < 0.6
    assert second.counts.tallies == first.counts.tallies


async def test_what_was_kept_of_counts_is_within_bounds_whatever_it_says() -> None:
    counts = WorkerCounts()
    counts.remember([LearnedCounts("a/m", prompt=1e9, stream=1e-9, template=1e9)], [])
    request = asked()
    most = TOLERANCE * (RATIO_MAX * request.prompt_tokens + TEMPLATE_MAX)
    assert counts.prompt_tokens(request) <= most
    assert counts.event_tokens("a/m") == 1.0
