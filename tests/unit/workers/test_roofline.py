"""The emulator's service times, which are arithmetic over published figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.backends.emulator.fleet import POOLS, WORKERS, typical_service_s
from workers.backends.emulator.hardware import H100, MODELS, XEON_8480
from workers.backends.emulator.roofline import (
    BANDWIDTH_SHARE,
    STEP_OVERHEAD_S,
    Profile,
)

chat_models = st.sampled_from([m for m in MODELS.values() if m.task == "chat"])
pools = st.sampled_from(POOLS)
tokens = st.integers(1, 4096)
batches = st.integers(1, 64)


@given(chat_models, pools, tokens, tokens, batches)
def test_more_tokens_never_take_less_time(model, pool, prompt, more, batch) -> None:
    profile = Profile(model, pool.hardware, pool.chips)
    assert profile.prefill_s(prompt + more) >= profile.prefill_s(prompt)
    longer = profile.generation_s(prompt, prompt + more, batch)
    assert longer > profile.generation_s(prompt, prompt, batch)


@given(chat_models, pools, batches)
def test_a_larger_batch_is_slower_a_step_and_faster_a_token(model, pool, batch) -> None:
    profile = Profile(model, pool.hardware, pool.chips)
    one, two = profile.decode_step_s(batch), profile.decode_step_s(2 * batch)
    assert one <= two <= 2 * one


def test_decoding_alone_is_bound_by_reading_the_weights() -> None:
    model = MODELS["emulated/llama-2-70b-chat"]
    step = Profile(model, H100, chips=2).decode_step_s(1)
    assert step == pytest.approx(70e9 / (2 * 3.35e12 * BANDWIDTH_SHARE) + STEP_OVERHEAD_S)


def test_an_h100_beats_a_cpu_on_every_emulated_model() -> None:
    for model in MODELS.values():
        gpu, cpu = Profile(model, H100, chips=2), Profile(model, XEON_8480, chips=1)
        assert typical_service_s(gpu) < typical_service_s(cpu)


def test_every_emulated_worker_says_so_and_knows_its_priors() -> None:
    for worker in WORKERS.values():
        assert worker.id.startswith("emulated-")
        assert worker.priors_ms()
        assert all(prior > 0 for prior in worker.priors_ms().values())


def test_every_figure_names_its_source() -> None:
    for pool in POOLS:
        assert pool.hardware.source
        assert pool.hardware.url.startswith("https://")
    assert all(model.source for model in MODELS.values())


def test_a_worker_serves_what_fits_into_its_memory() -> None:
    large = "emulated/llama-2-70b-chat"
    assert large in WORKERS["emulated-h100-0"].engines()
    assert large not in WORKERS["emulated-rtx4090-0"].engines()
    assert large not in WORKERS["emulated-rtx4090-0"].priors_ms()
    assert not WORKERS["emulated-h100-tensor-0"].engines()


@given(chat_models, pools, st.integers(1, 2048), st.integers(1, 2048))
def test_the_declared_figures_of_an_engine_are_near_to_what_its_steps_take(
    model, pool, batch, each
) -> None:
    profile = Profile(model, pool.hardware, pool.chips)
    engine = profile.engine("e", 64)
    batch = 1 + batch % 64
    real_s = engine.mixed_s(batch, batch * each, 0)
    told_s = engine.step_s(batch, batch * each)
    if batch * model.active_parameters < model.parameters:
        # A line that is right for all experts is too slow for the few that so few answers read.
        assert told_s > real_s
    else:
        assert told_s == pytest.approx(real_s, rel=0.75)
