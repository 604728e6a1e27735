"""Engines that are asked what they have."""

import asyncio
import random
from collections.abc import Mapping

from msgspec import structs

from router.contracts.engines.engine_report import EngineReport
from router.domain.catalog import Pool, Worker
from router.pipeline.attempts.dispatch import Dispatcher
from router.pipeline.fleet.engine_polls import REASON_MAX, EnginePolls
from router.ports.upstream import UpstreamFailed
from router.scheduling.scheduler import Scheduler
from router.scheduling.worker_models.engines import EngineWorker
from tests.unit.router.scheduling.fleets import endpoint


class Says:
    """What each worker answers."""

    def __init__(self, answers: Mapping[str, float | Exception]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def report(self, worker: Worker) -> EngineReport:
        self.asked.append(worker.id)
        answer = self.answers[worker.id]
        if isinstance(answer, Exception):
            raise answer
        return EngineReport(answer)


def polls(source: Says, **engines: str) -> tuple[EnginePolls, Scheduler]:
    scheduler = Scheduler(queue_max=10, random=random.Random(1).random)
    dispatcher = Dispatcher(scheduler, {}, clock=asyncio.get_running_loop().time)
    dispatcher.apply(
        structs.replace(endpoint(name), pool=Pool("pool", "cpu", engine=engine))
        for name, engine in engines.items()
    )
    return EnginePolls(dispatcher, source, interval_s=1.0), scheduler


def beside(scheduler: Scheduler, worker: str) -> float:
    model = scheduler.fleet.workers[worker].model
    assert isinstance(model, EngineWorker)
    return model.batch.others.decoding


async def test_only_those_that_have_such_metrics_are_asked() -> None:
    source = Says({"a": 0.0, "b": 0.0, "c": 0.0})
    asking, _ = polls(source, a="vLLM 0.11", b="llama.cpp", c="SGLang", d="Triton", e="")
    await asking.poll()
    assert sorted(source.asked) == ["a", "b", "c"]


async def test_what_is_beyond_own_requests_is_work_of_others() -> None:
    asking, scheduler = polls(Says({"a": 5.0}), a="vLLM")
    await asking.poll()
    assert beside(scheduler, "a") == 5.0
    assert asking.reports == {"a": EngineReport(5.0)}


async def test_a_bad_answer_takes_back_what_was_known_and_says_why() -> None:
    source = Says({"a": 5.0, "b": 1.0})
    asking, scheduler = polls(source, a="vLLM", b="vLLM")
    await asking.poll()
    source.answers = {"a": UpstreamFailed("timeout", "x" * 1_000), "b": ValueError("no count")}
    await asking.poll()
    assert (beside(scheduler, "a"), beside(scheduler, "b")) == (0, 0)
    assert asking.reasons["b"] == "no count"
    assert asking.reasons["a"].startswith("timeout")
    assert len(asking.reasons["a"]) == REASON_MAX
    assert asking.reports == {}
    source.answers = {"a": 2.0, "b": 0.0}
    await asking.poll()
    assert asking.reasons == {}


async def test_an_engine_that_is_gone_is_forgotten() -> None:
    asking, scheduler = polls(Says({"a": 5.0, "b": ValueError("no count")}), a="vLLM", b="vLLM")
    await asking.poll()
    scheduler.apply([], 0.0)
    await asking.poll()
    assert (asking.reports, asking.reasons) == ({}, {})
