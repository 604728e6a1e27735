"""Real LoadGen runs against real workers, with tiny plans."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from marketplace.benchmarks.models import Benchmark, Profile, Trigger
from marketplace.benchmarks.profiles.statistics import isotonic
from marketplace.benchmarks.runs.idle_slots import Traffic
from marketplace.benchmarks.runs.job import benchmark_claim, benchmark_run
from marketplace.benchmarks.runs.outcome import raw_folder
from marketplace.benchmarks.selectors import profiles_in_force
from marketplace.benchmarks.services import benchmark_request
from marketplace.routing.models import SnapshotRow
from marketplace.shared.jobs.models import JobState
from marketplace.shared.jobs.services import job_cancel
from tests.examples import rest_nightly
from tests.integration.marketplace.benchmarks.conftest import TINY

GPT_J = "emulated/gpt-j-6b"
IDLE = Traffic()


def idle(_workers: Any, _own: int) -> Traffic:
    return IDLE


def emulated_chat(offered: Callable[..., Any], url: str) -> Any:
    worker = ("emulated-h100-0", f"{url}/emulated-h100-0", "openai")
    return offered(GPT_J, "chat", worker, slots=4, emulated=True)


def request(deployment: Any, **settings: Any) -> Benchmark:
    scenario = settings.pop("scenario", "offline")
    return benchmark_request(
        model=deployment.version.model,
        target="deployment",
        scenario=scenario,
        deployment=deployment,
        settings={**TINY, **settings},
    )


def test_a_curve_of_an_emulated_worker_becomes_the_prior(
    offered: Callable[..., Any], emulator_url: str
) -> None:
    deployment = emulated_chat(offered, emulator_url)
    benchmark = benchmark_run(request(deployment, loads=[1, 4, 8]), read_traffic=idle)
    assert (benchmark.state, benchmark.error) == (JobState.SUCCEEDED, "")
    assert benchmark.emulated
    points = list(benchmark.points.all())
    assert [point.load for point in points] == [1, 4, 8]
    assert all(point.samples >= 20 and not point.errors for point in points)
    for point in points:
        value, low, high = point.latency["total_ms"]["mean"]
        assert low <= value <= high
        assert point.latency["ttft_ms"]["p50"][0] < point.latency["total_ms"]["p50"][0]
        assert point.tokens_per_s == pytest.approx(4 * point.throughput_hz, rel=0.01)
    assert sum(point.is_knee for point in points) == 1
    profile = profiles_in_force().get(deployment=deployment)
    assert profile.benchmark == benchmark
    assert profile.expires_at > timezone.now()
    # Alone is no slower than four at once: where noise has it so, both means are of one level.
    means = [point.latency["total_ms"]["mean"][0] for point in points[:2]]
    level = isotonic(means, [point.samples for point in points[:2]])[0]
    assert profile.service_ms == pytest.approx(level, rel=1e-4)
    assert [n for n, _factor in profile.batch_curve] == [1, 4]
    (received,) = [
        row for row in SnapshotRow.objects.first().body["deployments"] if row["id"] == deployment.pk
    ]
    assert received["service_prior_ms"] == profile.service_ms
    # Loads beyond its four slots would have it wait for a slot, which is no engine's doing.
    engine = profile.engine_figures
    assert engine is not None
    assert engine.answers == points[0].samples + points[1].samples
    # A token takes microseconds here: some are held up by whatever else the machine does.
    tokens_ms = points[0].latency["tpot_ms"]
    assert tokens_ms["p50"][0] / 2 < engine.alone_ms < tokens_ms["p99"][0] * 2
    assert received["engine_prior"]["step"] == pytest.approx(engine.step.weights)
    assert received["engine_prior"]["first"] == pytest.approx(engine.first.weights)


def test_a_second_attempt_keeps_nothing_of_the_first(
    offered: Callable[..., Any], emulator_url: str
) -> None:
    benchmark = request(emulated_chat(offered, emulator_url), loads=[2])
    for load in (1, 2):
        benchmark.points.create(load=load, samples=1, duration_s=1, throughput_hz=1, goodput_hz=1)
    benchmark_run(benchmark, read_traffic=idle)
    assert [point.load for point in benchmark.points.all()] == [2]
    assert benchmark.points.get().samples >= 20


def test_the_raw_results_are_kept(offered: Callable[..., Any], emulator_url: str) -> None:
    deployment = emulated_chat(offered, emulator_url)
    benchmark = benchmark_run(request(deployment, loads=[2]), read_traffic=idle)
    folder = raw_folder(benchmark)
    assert "MLPerf Results Summary" in (folder / "load-2/mlperf_log_summary.txt").read_text()
    assert (folder / "load-2/mlperf_log_detail.txt").stat().st_size > 0
    lines = (folder / "load-2/samples.jsonl").read_text().splitlines()
    (point,) = benchmark.points.all()
    assert len(lines) == point.samples
    about = json.loads((folder / "benchmark.json").read_text())
    assert about["fingerprint"]["digest"] == benchmark.fingerprint["digest"]


@pytest.mark.parametrize(
    ("scenario", "loads"),
    [
        pytest.param("single_stream", [1], marks=pytest.mark.nightly),
        pytest.param("multi_stream", [3], marks=pytest.mark.nightly),
        ("server", [30]),
        ("offline", [3]),
    ],
)
def test_every_scenario_runs(
    offered: Callable[..., Any], emulator_url: str, scenario: str, loads: list[float]
) -> None:
    deployment = emulated_chat(offered, emulator_url)
    benchmark = benchmark_run(
        request(deployment, scenario=scenario, loads=loads), read_traffic=idle
    )
    assert (benchmark.state, benchmark.error) == (JobState.SUCCEEDED, "")
    (point,) = benchmark.points.all()
    assert point.samples >= 20
    # Twenty queries are too few for LoadGen's early stopping, and it says so; offline has none.
    assert point.valid is (scenario == "offline"), point.invalid_because
    assert Profile.objects.filter(benchmark=benchmark).exists() is (scenario != "server")


@pytest.mark.nightly  # A minute of two processors.
def test_a_real_language_model_is_measured(offered: Callable[..., Any], llama_url: str) -> None:
    name = "huggingfacetb/smollm2-135m-instruct"
    deployment = offered(name, "chat", ("llama-0", llama_url, "openai"), slots=2)
    benchmark = benchmark_run(request(deployment, loads=[2], seconds_max=20), read_traffic=idle)
    assert (benchmark.state, benchmark.error) == (JobState.SUCCEEDED, "")
    (point,) = benchmark.points.all()
    assert point.latency["tpot_ms"]["mean"][0] > 0
    assert benchmark.fingerprint["asked"]["build_info"]
    assert benchmark.fingerprint["host"]["cores"] >= 1


@pytest.mark.parametrize("over", rest_nightly(["http", "grpc"], ["grpc"]))
def test_triton_is_measured_over_http_and_grpc(
    offered: Callable[..., Any], triton_addresses: dict[str, str], over: str
) -> None:
    protocol = {"http": "oip", "grpc": "oip_grpc"}[over]
    deployment = offered(
        "waypost/fraud-scorer",
        "tabular",
        ("triton-0", f"{over}://{triton_addresses[over]}", protocol),
        upstream="fraud_scorer",
        tensors={"inputs": [{"name": "FEATURES", "datatype": "FP32", "shape": [-1, 8]}]},
    )
    benchmark = benchmark_run(request(deployment, loads=[1, 4], rows=3), read_traffic=idle)
    assert (benchmark.state, benchmark.error) == (JobState.SUCCEEDED, "")
    assert all(point.samples >= 20 and not point.errors for point in benchmark.points.all())
    assert benchmark.fingerprint["asked"]["name"] == "triton"


@pytest.mark.nightly
def test_embeddings_of_texts_over_oip(offered: Callable[..., Any], triton_url: str) -> None:
    deployment = offered(
        "wordllama/wordllama-256",
        "embeddings",
        ("triton-0", triton_url, "oip"),
        upstream="wordllama_256",
        tensors={"inputs": [{"name": "TEXT", "datatype": "BYTES", "shape": [-1, 1]}]},
    )
    benchmark = benchmark_run(request(deployment, loads=[2], rows=2), read_traffic=idle)
    assert [(p.errors, p.invalid_because) for p in benchmark.points.all()] == [(0, "")]


@pytest.mark.nightly
def test_images_are_sent_as_binary_tensors(offered: Callable[..., Any], emulator_url: str) -> None:
    worker = ("emulated-h100-tensor-0", f"{emulator_url}/emulated-h100-tensor-0", "oip")
    inputs = [{"name": "INPUT", "datatype": "FP32", "shape": [-1, 3, 224, 224]}]
    deployment = offered(
        "emulated/resnet-50", "vision", worker, emulated=True, tensors={"inputs": inputs}
    )
    benchmark = benchmark_run(request(deployment, loads=[2]), read_traffic=idle)
    assert [p.errors for p in benchmark.points.all()] == [0]


def test_a_cancelled_run_stops_within_two_seconds(
    offered: Callable[..., Any], emulator_url: str
) -> None:
    deployment = emulated_chat(offered, emulator_url)

    def took_s() -> float:
        benchmark = request(deployment, loads=[1, 2], seconds_min=30, seconds_max=60)
        asked: list[float] = []

        def watch(row: Benchmark) -> None:
            if "measuring" in row.stage and not asked:
                asked.append(time.monotonic())
                job_cancel(row)

        benchmark_run(benchmark, watch=watch, read_traffic=idle)
        assert benchmark.state == JobState.CANCELLED
        assert not Profile.objects.filter(benchmark=benchmark).exists()
        return time.monotonic() - asked[0]

    assert took_s() < 2


def test_one_that_waits_is_cancelled_at_once(
    offered: Callable[..., Any], emulator_url: str
) -> None:
    deployment = emulated_chat(offered, emulator_url)
    benchmark = request(deployment)
    job_cancel(benchmark)
    assert benchmark.state == JobState.CANCELLED
    assert benchmark_run(benchmark, read_traffic=idle).state == JobState.CANCELLED
    assert benchmark.started_at is None


def test_a_point_gives_way_to_live_traffic_and_begins_again(
    offered: Callable[..., Any], emulator_url: str
) -> None:
    deployment = emulated_chat(offered, emulator_url)
    benchmark = request(deployment, loads=[2], seconds_min=4)
    seen: list[str] = []

    def read_traffic(_workers: Any, _own: int) -> Traffic:
        # Two looks with three others in flight, once it measures: 2 + 3 are more than its 4 slots.
        busy = any("measuring" in stage for stage in seen) and seen.count("busy") < 2
        if busy:
            seen.append("busy")
        return Traffic(in_flight=3) if busy else IDLE

    benchmark_run(benchmark, watch=lambda row: seen.append(row.stage), read_traffic=read_traffic)
    assert benchmark.state == JobState.SUCCEEDED
    assert seen.count("busy") == 2
    assert any("waiting" in stage for stage in seen)
    (point,) = benchmark.points.all()
    assert point.duration_s > 3.8


def test_a_worker_that_fails_is_told_as_the_reason(
    offered: Callable[..., Any], emulator_url: str
) -> None:
    worker = ("gone-0", f"{emulator_url}/emulated-h100-0", "openai")
    deployment = offered("emulated/unheard-of", "chat", worker, emulated=True)
    benchmark = benchmark_run(request(deployment, loads=[1]), read_traffic=idle)
    assert benchmark.state == JobState.FAILED
    assert "not emulated" in benchmark.error


def test_one_benchmark_a_pool_at_a_time(offered: Callable[..., Any], emulator_url: str) -> None:
    deployment = emulated_chat(offered, emulator_url)
    first, second = request(deployment, loads=[1]), request(deployment, loads=[1])
    benchmark_claim(first)
    assert benchmark_run(second, read_traffic=idle).state == JobState.QUEUED
    assert benchmark_run(first, read_traffic=idle).state == JobState.SUCCEEDED
    assert benchmark_run(second, read_traffic=idle).state == JobState.SUCCEEDED


@pytest.mark.nightly  # As one worker.
def test_a_deployment_of_two_workers_is_measured_in_turn(
    offered: Callable[..., Any], emulator_url: str
) -> None:
    names = ("emulated-h100-0", "emulated-h100-1")
    workers = [(name, f"{emulator_url}/{name}", "openai") for name in names]
    deployment = offered(GPT_J, "chat", *workers, slots=4, emulated=True)
    benchmark = benchmark_run(request(deployment, loads=[2, 4]), read_traffic=idle)
    assert benchmark.fingerprint["workers"] == list(names)
    profile = Profile.objects.get(benchmark=benchmark)
    assert [n for n, _factor in profile.batch_curve] == [1, 2]
    fastest = max(point.throughput_hz for point in benchmark.points.all())
    assert profile.throughput_hz == pytest.approx(fastest / 2, rel=0.01)


def test_triggers_are_kept(offered: Callable[..., Any], emulator_url: str) -> None:
    deployment = emulated_chat(offered, emulator_url)
    benchmark = benchmark_request(
        model=deployment.version.model,
        target="worker",
        worker=deployment.pool.workers.get(),
        trigger=Trigger.DRIFT,
        reason="it strays",
    )
    assert (benchmark.deployment, benchmark.trigger) == (deployment, "drift")
    assert Path(raw_folder(benchmark)).parts[-2:] == ("benchmarks", str(benchmark.pk))


def test_a_worker_at_an_inside_address_is_not_measured(
    offered: Callable[..., Any], emulator_url: str, settings: Any
) -> None:
    settings.ROUTER_UPSTREAM_NETWORKS = []
    benchmark = benchmark_run(request(emulated_chat(offered, emulator_url)), read_traffic=idle)
    assert benchmark.state == JobState.FAILED
    assert "internal address" in benchmark.error
