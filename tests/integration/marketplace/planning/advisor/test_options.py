"""Which pools the advisor may choose from."""

from datetime import timedelta

import pytest
from django.utils import timezone

from marketplace.benchmarks.models import Benchmark, Origin, Profile
from marketplace.catalog.models import AIModel, Deployment, ModelVersion, Pool
from marketplace.planning.advisor import services, wording
from marketplace.planning.advisor.fleets.option import Evidence
from marketplace.planning.advisor.options.catalogue import options_of
from marketplace.planning.advisor.options.roofline import REFERENCE_TOKENS
from marketplace.planning.advisor.question import Question
from tests.integration.marketplace.planning.advisor.yards import ASKED, ENGINE, profile_of
from tests.integration.marketplace.shop import Shop

pytestmark = pytest.mark.usefixtures("kept_shop")


def test_a_measured_profile_is_an_option_scaled_to_the_asked_sizes(yard: Shop) -> None:
    asked = Question(**{**ASKED, "completion_tokens": 128, "prompt_tokens": 64})
    (option,) = options_of(asked)
    assert option.service_ms == pytest.approx(200 * (128 + 0.64) / (64 + 0.64))
    assert (option.evidence, option.kind, option.region) == (Evidence.MEASURED, "cpu", "lisbon")
    assert (option.in_service, option.cost_usd, option.mix_fits) == (1, 0.5, True)
    assert option.batch_curve == ((2, 1.1), (4, 1.4))


def test_a_profile_of_an_engine_is_an_option_that_batches(yard: Shop) -> None:
    Profile.objects.update(engine=ENGINE)
    (option,) = options_of(Question(**{**ASKED, "prompt_tokens": 500, "completion_tokens": 100}))
    alone_s = 0.03 + 0.5 * 0.1 + 99 * (0.005 + 0.0005 + 0.01 * 562.5 / 1e4)
    assert option.service_ms == pytest.approx(1e3 * alone_s)
    # Of the worker's slots as many are used as the cache has room for.
    assert option.sequences == yard.worker.slots
    assert option.slots == min(yard.worker.slots, int(4_000 / 562.5))
    assert option.capacity_hz < option.slots / alone_s


def test_a_profile_that_expired_or_is_not_published_is_no_option(yard: Shop) -> None:
    Profile.objects.update(expires_at=timezone.now() - timedelta(days=1))
    profile_of(yard.deployment, published=False)
    assert options_of(Question(**ASKED)) == []


def test_an_old_measurement_asks_for_a_pilot(yard: Shop) -> None:
    Profile.objects.update(created_at=timezone.now() - timedelta(days=31))
    made = services.answer_question(Question(**ASKED))
    assert [pilot.reason for pilot in made.pilots] == ["stale"]
    assert made.confidence == "low"


def test_sizes_that_nobody_measured_are_called_assumed(yard: Shop) -> None:
    Profile.objects.update(benchmark=None, origin=Origin.LIVE)
    asked = Question(**{**ASKED, "completion_tokens": 128, "prompt_tokens": 64})
    (option,) = options_of(asked)
    # As if the calls behind it had been the typical ones, not the asked.
    assert option.service_ms == pytest.approx(200 * (128 + 0.64) / (64 + 0.64))
    assert not option.mix_fits
    made = services.answer_question(asked)
    assert [pilot.reason for pilot in made.pilots] == ["mix"]
    assert "mix_typical" in made.assumptions
    assert "mix" not in made.assumptions
    assert f"{REFERENCE_TOKENS} prompt and {REFERENCE_TOKENS} completion" in str(
        wording.ASSUMPTIONS["mix_typical"]
    )
    AIModel.objects.update(task="vision")
    assert "mix" in services.answer_question(asked).assumptions


def test_an_emulated_pool_brings_its_variants_and_published_figures(yard: Shop) -> None:
    model = AIModel.objects.create(
        name="emulated/gpt-j-6b", display_name="GPT-J", task="chat", emulated=True
    )
    pool = Pool.objects.create(
        name="emulated-h100",
        hardware="2 × NVIDIA H100 (emulated)",
        engine="emulator",
        cost_nano_per_hour=6_000_000_000,
        emulated=True,
    )
    deployment = Deployment.objects.create(
        version=ModelVersion.objects.create(model=model, version="1"),
        provider=yard.provider,
        pool=pool,
        upstream_model="x",
    )
    profile_of(deployment, service_ms=80.0, emulated=True, batch_curve=[], slots=16)
    options = {
        option.name: option for option in options_of(Question(**{**ASKED, "model": model.name}))
    }
    assert options["emulated-h100"].service_ms == pytest.approx(80.0)
    assert options["emulated-h100 ×4"].cost_usd == 12.0
    assert options["emulated-h100 ×1"].service_ms > options["emulated-h100 ×8"].service_ms
    assert {option.evidence for option in options.values()} == {
        Evidence.EMULATED,
        Evidence.PUBLISHED,
    }


def test_a_profile_of_other_sizes_is_scaled_from_those_it_was_measured_with(yard: Shop) -> None:
    model = AIModel.objects.create(
        name="emulated/gpt-j-6b", display_name="GPT-J", task="chat", emulated=True
    )
    pool = Pool.objects.create(
        name="emulated-h100", hardware="H100 (emulated)", engine="emulator", emulated=True
    )
    deployment = Deployment.objects.create(
        version=ModelVersion.objects.create(model=model, version="1"),
        provider=yard.provider,
        pool=pool,
        upstream_model="x",
    )
    measured = profile_of(deployment, service_ms=400.0, emulated=True, batch_curve=[], slots=16)
    asked = Question(
        **{**ASKED, "model": model.name, "prompt_tokens": 300.0, "completion_tokens": 256.0}
    )
    measured.benchmark = Benchmark.objects.create(
        model=model,
        target="deployment",
        deployment=deployment,
        scenario="offline",
        settings={"prompt_tokens": 300, "completion_tokens": 256, "rows": 1},
    )
    measured.save()
    option = next(item for item in options_of(asked) if item.name == "emulated-h100")
    assert option.service_ms == pytest.approx(400.0)
