"""Runs engine scenarios under several placers, side by side, and prints a table of the figures."""

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from msgspec import Struct
from msgspec.structs import replace

from router.simulator.engines.batching import EngineSpec, StepForm
from router.simulator.engines.placers import least_outstanding, oracle, round_robin
from router.simulator.engines.scenarios import HARDWARE, EngineScenario, engine_scenarios
from router.simulator.engines.scheduled import Part, Scheduled, Told
from router.simulator.engines.several_routers import Several
from router.simulator.engines.simulation import EngineResult, Placer, simulate_engines
from router.simulator.percentile import percentile


def _times(factor: float) -> Callable[[EngineSpec], int]:
    return lambda spec: max(1, round(factor * spec.sequences_max))


def _less(part: Part) -> Callable[[int], Placer]:
    return lambda seed: Scheduled(seed=seed, lacks=frozenset({part}))


PLACERS: dict[str, Callable[[int], Placer]] = {
    "oracle": lambda seed: oracle(),
    "oracle-self": lambda seed: oracle(0.0),
    "oracle-blind": lambda seed: oracle(knows_lengths=False),
    "ours": lambda seed: Scheduled(seed=seed),
    "ours-half": lambda seed: Scheduled(seed=seed, slots=_times(0.5)),
    "ours-twice": lambda seed: Scheduled(seed=seed, slots=_times(2.0)),
    "ours-one": lambda seed: Scheduled(seed=seed, slots=lambda spec: 1),
    "ours-knee": lambda seed: Scheduled(seed=seed, slots=lambda spec: HARDWARE[spec.kind].knee),
    "ours-hardware": lambda seed: Scheduled(seed=seed, told=Told.HARDWARE),
    "ours-benchmark": lambda seed: Scheduled(seed=seed, told=Told.BENCHMARK),
    "ours-whole": lambda seed: Scheduled(seed=seed, streams=False),
    "ours-whole-named": lambda seed: Scheduled(seed=seed, engine="vLLM", streams=False),
    "ours-whole-one": lambda seed: Scheduled(seed=seed, slots=lambda spec: 1, streams=False),
    **{f"ours-less-{part}": _less(part) for part in Part},
    "ours-two": lambda seed: Several(seed, 2),
    "ours-two-silent": lambda seed: Several(seed, silent=True),
    "ours-four": lambda seed: Several(seed, 4),
    "ours-four-silent": lambda seed: Several(seed, 4, silent=True),
    "least_outstanding": least_outstanding,
    "round_robin": lambda seed: round_robin(),
}
"""Placers by name, made for a seed.

Each ``ours-`` placer changes one thing. The catalog states another number of slots, answers come
whole, or a part is left out. Or several routers share the calls and tell each other of their work
(``-silent``: they do not).
"""


class TenantFigures(Struct, frozen=True):
    """The figures of one tenant."""

    good: float
    ttft_p99_ms: float
    p99_ms: float


class EngineFigures(Struct, frozen=True):
    """The figures of one placer, over all seeds. Milliseconds; shares from 0 to 1.

    ``penalised_ms`` is the mean in which every error counts as the caller's whole patience.
    ``shares`` are by class of hardware. ``us`` is processor time per request of the whole
    simulation. ``tenants`` is set if there are several.
    """

    placer: str
    requests: float
    ttft_ms: float
    ttft_p50_ms: float
    ttft_p99_ms: float
    token_ms: float
    mean_ms: float
    p50_ms: float
    p99_ms: float
    good: float
    hit: float
    errors: float
    penalised_ms: float
    us: float
    shares: dict[str, float]
    tenants: dict[int, TenantFigures] = {}


class Options(Struct, frozen=True):
    """The options of all runs."""

    seeds: int = 1
    form: StepForm = StepForm.LINEAR
    load_factor: float = 1.0
    duration_s: float = 0.0
    """0 means the scenario's own."""

    def scenario(self, name: str) -> EngineScenario:
        """A scenario by name."""
        scenario = engine_scenarios(self.form, load_factor=self.load_factor)[name]
        if self.duration_s:
            scenario = replace(scenario, duration_s=self.duration_s)
        return scenario


def compare_engines(
    names: Sequence[str], placers: Sequence[str], options: Options, jobs: int = 1
) -> Iterator[tuple[str, list[EngineFigures]]]:
    """Each scenario with the figures of every placer, as soon as they are there."""
    runs = [
        (name, placer, seed, options)
        for name in names
        for placer in placers
        for seed in range(1, options.seeds + 1)
    ]
    if jobs > 1:
        with ProcessPoolExecutor(jobs) as pool:
            yield from _gathered(names, placers, options.seeds, pool.map(_run, runs))
    else:
        yield from _gathered(names, placers, options.seeds, map(_run, runs))


def _gathered(
    names: Sequence[str], placers: Sequence[str], seeds: int, made: Iterator[EngineFigures]
) -> Iterator[tuple[str, list[EngineFigures]]]:
    for name in names:
        yield name, [_mean([next(made) for _ in range(seeds)]) for _ in placers]


def _run(what: tuple[str, str, int, Options]) -> EngineFigures:
    gc.set_threshold(100_000)  # A run's objects live long: frequent collections take a tenth of it.
    name, placer, seed, options = what
    scenario = options.scenario(name)
    begun_s = time.process_time()
    results = simulate_engines(scenario, PLACERS[placer](seed), seed)
    us = (time.process_time() - begun_s) / max(len(results), 1) * 1e6
    return figures_of(placer, scenario, results, us)


def figures_of(
    placer: str, scenario: EngineScenario, results: Sequence[EngineResult], us: float = 0.0
) -> EngineFigures:
    """The figures of the requests that came after the warm-up and within the run."""
    counted = [
        result for result in results if scenario.warm_up_s <= result.at_s < scenario.duration_s
    ] or list(results)
    answered = [result for result in counted if not result.error]
    latencies = sorted(result.latency_s * 1e3 for result in answered)
    firsts = sorted(result.ttft_s * 1e3 for result in answered)
    tokens = [result.token_s * 1e3 for result in answered if result.answer_events > 1]
    good = sum(_is_good(result, scenario) for result in counted)
    lost = len(counted) - len(answered)
    patience_ms = scenario.client_timeout_s * 1e3
    tenants = (
        sorted({result.tenant for result in counted}) if len(scenario.load.tenants) > 1 else []
    )
    by_class = Counter(scenario.engines[result.engine].kind for result in answered)
    kinds = dict.fromkeys(spec.kind for spec in scenario.engines)
    return EngineFigures(
        placer=placer,
        requests=len(counted),
        ttft_ms=_average(firsts),
        ttft_p50_ms=percentile(firsts, 0.5),
        ttft_p99_ms=percentile(firsts, 0.99),
        token_ms=_average(tokens),
        mean_ms=_average(latencies),
        p50_ms=percentile(latencies, 0.5),
        p99_ms=percentile(latencies, 0.99),
        good=good / max(len(counted), 1),
        hit=sum(result.cached_tokens for result in answered)
        / max(sum(result.prompt_tokens for result in answered), 1),
        errors=lost,
        penalised_ms=(sum(latencies) + lost * patience_ms) / max(len(counted), 1),
        us=us,
        shares={kind: by_class[kind] / max(len(counted), 1) for kind in kinds},
        tenants={tenant: _of_tenant(tenant, scenario, counted) for tenant in tenants},
    )


def _is_good(result: EngineResult, scenario: EngineScenario) -> bool:
    in_time = result.ttft_s <= scenario.slo_ttft_s and result.token_s <= scenario.slo_token_s
    return in_time and not result.error


def _of_tenant(
    tenant: int, scenario: EngineScenario, counted: Sequence[EngineResult]
) -> TenantFigures:
    own = [result for result in counted if result.tenant == tenant]
    answered = [result for result in own if not result.error]
    return TenantFigures(
        sum(_is_good(result, scenario) for result in own) / len(own),
        percentile(sorted(result.ttft_s * 1e3 for result in answered), 0.99),
        percentile(sorted(result.latency_s * 1e3 for result in answered), 0.99),
    )


def _average(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)


def _mean(figures: Sequence[EngineFigures]) -> EngineFigures:
    """The mean of one placer's figures over several seeds."""
    first = figures[0]
    numbers = {
        field: _average([getattr(run, field) for run in figures])
        for field in EngineFigures.__struct_fields__
        if field not in {"placer", "shares", "tenants"}
    }
    shares = {kind: _average([run.shares[kind] for run in figures]) for kind in first.shares}
    tenants = {
        tenant: TenantFigures(
            *[
                _average([getattr(run.tenants[tenant], field) for run in figures])
                for field in TenantFigures.__struct_fields__
            ]
        )
        for tenant in first.tenants
    }
    return EngineFigures(placer=first.placer, shares=shares, tenants=tenants, **numbers)


ENGINE_HEAD = (
    f"{'placer':18s} {'n':>6s} {'ttft':>6s} {'p50':>6s} {'p99':>7s} {'token':>6s} {'mean':>7s} "
    f"{'p50':>7s} {'p99':>7s} {'good':>6s} {'hit':>6s} {'errors':>6s} {'ratio':>6s} {'us/req':>7s}"
    "  shares"
)


def engine_line(row: EngineFigures, reference_ms: float) -> str:
    """A row of the table. The ratio is of penalised means, relative to the first placer's."""
    shares = " ".join(f"{kind} {share:.0%}" for kind, share in row.shares.items())
    shares += "".join(
        f"; tenant {tenant}: {part.good:.1%} good, p99 of ttft {part.ttft_p99_ms:.0f}, "
        f"of all {part.p99_ms:.0f}"
        for tenant, part in row.tenants.items()
    )
    return (
        f"{row.placer:18s} {row.requests:6.0f} {row.ttft_ms:6.0f} {row.ttft_p50_ms:6.0f} "
        f"{row.ttft_p99_ms:7.0f} {row.token_ms:6.1f} {row.mean_ms:7.0f} {row.p50_ms:7.0f} "
        f"{row.p99_ms:7.0f} {row.good:6.1%} {row.hit:6.1%} {row.errors:6.1f} "
        f"{row.penalised_ms / reference_ms:6.3f} {row.us:7.1f}  {shares}"
    )
