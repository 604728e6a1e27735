"""The emulator's engines under virtual time: batches, prefixes, room."""

import asyncio
from itertools import pairwise

import pytest

from router.simulator.engines.kv_cache import BLOCK_TOKENS
from tests.simulation.virtual_time import Stuck, run
from workers.backends.emulator.engine import Engine
from workers.backends.emulator.fleet import WORKERS
from workers.backends.emulator.hardware import H100, MODELS, RTX_4090
from workers.backends.emulator.prompt import (
    BYTES_PER_TOKEN,
    Message,
    generation,
    prompt_text,
)
from workers.backends.emulator.roofline import Profile
from workers.backends.emulator.worker import Faults, RunningWorker

LLAMA = "emulated/llama-2-70b-chat"
MIXTRAL = "emulated/mixtral-8x7b-instruct"
GPT_J = "emulated/gpt-j-6b"


def engine_of(model: str = LLAMA, sequences: int = 64) -> Engine:
    return Engine(Profile(MODELS[model], H100, 2).engine("e", sequences), lambda _engine: 1.0)


async def answered(engine: Engine, prompt: bytes, tokens: int, *, streams: bool = False) -> float:
    """How long it takes."""
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    with engine.answering(generation(prompt, bytes(tokens * 4)), streams=streams) as answer:
        if streams:
            while await answer.more() < tokens:
                pass
        else:
            await answer.whole()
    return loop.time() - begun_s


def prompt_of(tokens: int, seed: int = 0) -> bytes:
    return bytes([seed]) * (tokens * BYTES_PER_TOKEN)


def test_a_generation_alone_takes_what_the_roofline_says() -> None:
    profile = Profile(MODELS[LLAMA], H100, 2)
    steps = [profile.step_s(0, 100, 100), *(profile.step_s(1, 101 + n, 0) for n in range(19))]
    assert run(answered(engine_of(), prompt_of(100), 20)) == pytest.approx(sum(steps))


def test_all_that_run_together_slow_each_other_and_are_quicker_than_one_by_one() -> None:
    async def together(count: int) -> float:
        engine = engine_of(GPT_J, 256)
        calls = [answered(engine, prompt_of(64, seed), 100) for seed in range(count)]
        return max(await asyncio.gather(*calls))

    alone_s, many_s = run(together(1)), run(together(200))
    assert 1.5 * alone_s < many_s < 20 * alone_s


def test_a_stream_hears_of_each_token_and_a_long_prompt_beside_it_comes_in_chunks() -> None:
    async def watched() -> list[float]:
        engine, loop = engine_of(), asyncio.get_running_loop()
        heard = [loop.time()]
        sequence = generation(prompt_of(64), bytes(4 * 40))
        with engine.answering(sequence, streams=True) as answer:
            long = asyncio.ensure_future(answered(engine, prompt_of(8_192, 1), 1))
            while (made := await answer.more()) < 40:
                heard.append(loop.time())
                assert made == len(heard) - 1
        await long
        return [later - earlier for earlier, later in pairwise(heard)]

    gaps_s = run(watched())
    slow = [gap_s for gap_s in gaps_s[1:] if gap_s > 2 * min(gaps_s)]
    assert len(slow) in (4, 5)  # 8,192 tokens, 2,048 of them in a step that also decodes
    assert max(slow) < 0.5


def test_a_turn_finds_the_turn_before_it_with_its_answer_in_the_cache() -> None:
    text = "This is an emulated answer. " * 16

    async def hits() -> tuple[int, int, int]:
        engine = engine_of()
        asked = [Message("system", "Be brief. " * 40), Message("user", "Why? " * 40)]
        first = generation(prompt_text(asked), text.encode())
        later = [*asked, Message("assistant", text.rstrip()), Message("user", "And then?")]
        second = generation(prompt_text(later), bytes(40))
        other = generation(prompt_text([asked[0], Message("user", "Who? " * 40)]), bytes(40))
        for item in (first, second, other):
            with engine.answering(item, streams=False) as answer:
                await answer.whole()
        return first.cached_tokens, second.cached_tokens, other.cached_tokens

    system = len(prompt_text([Message("system", "Be brief. " * 40)])) // BYTES_PER_TOKEN
    first, second, other = run(hits())
    known = (len(text) + 40 * 10 + 40 * 5) // BYTES_PER_TOKEN
    assert first == 0
    assert known - BLOCK_TOKENS < second < known + 2 * BLOCK_TOKENS
    assert 0 < other <= system


def test_what_is_cached_is_not_computed_again() -> None:
    async def twice() -> tuple[float, float]:
        engine = engine_of()
        prompt = prompt_of(2_000)
        return await answered(engine, prompt, 1), await answered(engine, prompt, 1)

    first_s, again_s = run(twice())
    assert again_s < first_s / 5


def test_no_more_run_at_once_than_fit_into_the_cache() -> None:
    spec = Profile(MODELS[GPT_J], RTX_4090, 1).engine("e", 24)
    assert 15_000 < spec.kv_tokens < 25_000

    async def most() -> tuple[int, int]:
        engine = Engine(spec, lambda _engine: 1.0)
        running = []
        calls = [
            asyncio.ensure_future(answered(engine, prompt_of(2_000, seed), 20))
            for seed in range(16)
        ]
        while not all(call.done() for call in calls):
            running.append(len(engine.state.running))
            await asyncio.sleep(0.01)
        return max(running), engine.state.cache.used

    at_once, left = run(most())
    assert at_once == spec.kv_tokens // 2_016
    assert left == 0


def test_a_caller_that_leaves_gives_its_blocks_back() -> None:
    async def left() -> int:
        engine = engine_of()
        call = asyncio.ensure_future(answered(engine, prompt_of(500), 1_000))
        await asyncio.sleep(1)
        assert engine.state.cache.used > 0
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.sleep(1)
        return engine.state.cache.used + len(engine.state.running)

    assert run(left()) == 0


def test_engines_of_one_worker_share_its_chips() -> None:
    async def both(*models: str) -> float:
        worker = RunningWorker(WORKERS["emulated-h100-0"], seed=1)
        calls = [answered(worker.engine(model), prompt_of(64), 200) for model in models]
        return max(await asyncio.gather(*calls))

    one_by_one_s = run(both(LLAMA)) + run(both(MIXTRAL))
    assert run(both(LLAMA, MIXTRAL)) == pytest.approx(one_by_one_s, rel=0.05)


def test_an_engine_that_hung_goes_on_without_catching_up() -> None:
    async def hung() -> float:
        worker = RunningWorker(WORKERS["emulated-h100-0"], seed=1)
        call = asyncio.ensure_future(answered(worker.engine(LLAMA), prompt_of(64), 100))
        await asyncio.sleep(0.5)
        worker.set_faults(Faults(hang=True))
        await asyncio.sleep(60)
        assert not call.done()
        worker.set_faults(Faults())
        return await call

    async def well() -> float:
        worker = RunningWorker(WORKERS["emulated-h100-0"], seed=1)
        return await answered(worker.engine(LLAMA), prompt_of(64), 100)

    assert run(hung()) == pytest.approx(60 + run(well()), rel=0.05)
    with pytest.raises(Stuck):
        run(never())


async def never() -> None:
    worker = RunningWorker(WORKERS["emulated-h100-0"], seed=1)
    worker.set_faults(Faults(hang=True))
    await answered(worker.engine(LLAMA), prompt_of(64), 10)
