"""Fleets of unlike LLM engines and their load, by name.

Hardware figures are real ones of an 8B model, rounded (bf16; the CPU int8). To run more requests in
less time, time passes ``SPEED`` times as fast as in reality, and one answer event stands for
``EVENT_TOKENS`` tokens. So a decode step takes ``EVENT_TOKENS / SPEED`` times as long as a real
one, and a prompt token ``1 / SPEED``. Contexts and caches have their real sizes, except for the
H100, which has half of its own because runs are short.
"""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from router.simulator.engines.batching import EngineSpec, StepForm
from router.simulator.engines.sessions import Lengths, Load, Systems
from router.simulator.trouble import Event, Trouble

SPEED = 2.0
EVENT_TOKENS = 8


class Hardware(Struct, frozen=True):
    """Real figures of one class: tokens a second, milliseconds of a decode step, tokens.

    Beyond a batch of ``knee``, throughput hardly grows.
    """

    prefill_hz: float
    base_ms: float
    batch_ms: float
    context_ms: float
    kv_tokens: int
    step_tokens: int
    sequences_max: int
    knee: int


HARDWARE = {
    "h100": Hardware(28e3, 7.5, 0.06, 56e-6, 200_000, 8192, 64, 14),
    "a100": Hardware(12e3, 12.0, 0.10, 90e-6, 145_000, 4096, 48, 10),
    "rtx4090": Hardware(6e3, 20.0, 0.15, 160e-6, 35_000, 2048, 24, 5),
    "cpu": Hardware(2e3, 40.0, 1.2, 500e-6, 64_000, 1024, 8, 2),
}
MIXED = (("h100", 1), ("a100", 3), ("rtx4090", 4), ("cpu", 4))
SAME = (("a100", 6),)


class EngineScenario(Struct, frozen=True):
    """A fleet, its load, what counts as good, and when measuring begins."""

    name: str
    about: str
    engines: tuple[EngineSpec, ...]
    load: Load
    duration_s: float = 50.0
    warm_up_s: float = 12.0
    client_timeout_s: float = 40.0
    slo_ttft_s: float = 1.0
    slo_token_s: float = 0.2


def fleet(
    classes: Sequence[tuple[str, int]] = MIXED, form: StepForm = StepForm.LINEAR
) -> tuple[EngineSpec, ...]:
    """Engines of some classes, as emulated."""
    step = EVENT_TOKENS / SPEED / 1e3
    engines: list[EngineSpec] = []
    for kind, count in classes:
        real = HARDWARE[kind]
        engines += [
            EngineSpec(
                name=f"{kind}-{place}",
                kind=kind,
                prefill_hz=real.prefill_hz * SPEED,
                base_s=real.base_ms * step,
                batch_s=real.batch_ms * step,
                context_s=real.context_ms * step,
                kv_tokens=real.kv_tokens,
                step_tokens=real.step_tokens,
                sequences_max=real.sequences_max,
                event_tokens=EVENT_TOKENS,
                form=form,
            )
            for place in range(count)
        ]
    return tuple(engines)


def capacity_hz(
    engines: Sequence[EngineSpec], prompt_tokens: float, answer_events: float, hit: float
) -> float:
    """Requests a second that saturate every engine, if a share ``hit`` of prompts is cached."""
    rate = 0.0
    for spec in engines:
        context = prompt_tokens + answer_events * spec.event_tokens
        batch = max(1.0, min(spec.sequences_max, 0.8 * spec.kv_tokens / context))
        step_s = (spec.base_s + spec.context_s * batch * context) / batch + spec.batch_s
        rate += 1 / (prompt_tokens * (1 - hit) / spec.prefill_hz + answer_events * step_s)
    return rate


_ANSWER = Lengths(17, 0.6, 4, 60)
_SINGLE = Load(1.0, Lengths(1600, 0.7, 200, 6000), _ANSWER)
_CHAT = Load(
    1.0,
    Lengths(500, 1.0, 50, 5000),
    _ANSWER,
    turns=(1, 8),
    later=Lengths(120, 0.8, 20, 1500),
    systems=Systems(8, 700),
    think_s=3.0,
)
_SHARED = Load(
    1.0,
    Lengths(120, 0.8, 20, 1500),
    _ANSWER,
    turns=(1, 2),
    systems=Systems(6, 4000),
    think_s=2.0,
)
_LONG = Load(
    1.0,
    Lengths(500, 0.7, 100, 3000),
    _ANSWER,
    long=Lengths(8000, 0.3, 5000, 12_500),
    long_share=0.06,
)
_TENANTS = replace(_SINGLE, tenants=(5.0, 1.0))
_CALM = replace(_TENANTS, only=1)


def engine_scenarios(
    form: StepForm = StepForm.LINEAR, *, load_factor: float = 1.0
) -> dict[str, EngineScenario]:
    """Every scenario; ``load_factor`` multiplies each one's rate."""
    mixed, same = fleet(MIXED, form), fleet(SAME, form)
    slow = Event(Trouble.SLOW, 20, 36, 4.0)
    slowed = tuple(replace(e, events=(slow,)) if e.kind == "a100" else e for e in mixed)
    all_slow = Event(Trouble.SLOW, 20, 28, 4.0)
    all_slowed = tuple(replace(e, events=(all_slow,)) for e in mixed)
    hung = _troubled(mixed, "a100-0", Event(Trouble.HANG, 20, 28))
    crashed = _troubled(mixed, "a100-0", Event(Trouble.CRASH, 20, 30))

    all_ = (
        ("e-mixed50", "single prompts on unlike engines, half of capacity", mixed, _SINGLE, 28.7),
        ("e-mixed75", "the same at three quarters", mixed, _SINGLE, 43.1),
        ("e-sess50", "chat sessions on unlike engines, half of capacity", mixed, _CHAT, 42.5),
        ("e-sess75", "the same at three quarters", mixed, _CHAT, 63.8),
        ("e-shared", "long shared system prompts", mixed, _SHARED, 40.5),
        ("e-long", "short prompts, and a few very long ones", mixed, _LONG, 58.3),
        ("e-slow", "the A100s slow down 4 x from second 20 to 36", slowed, _CHAT, 42.5),
        ("e-slow-all", "every engine slows down 4 x from 20 to 28", all_slowed, _SINGLE, 28.7),
        ("e-same", "chat sessions on like engines", same, _CHAT, 53.7),
        ("e-hang", "an A100 hangs from second 20 to 28", hung, _CHAT, 42.5),
        ("e-crash", "an A100 crashes at second 20 and returns at 30", crashed, _CHAT, 42.5),
        ("e-over110", "a tenth more than the fleet can do", mixed, _CHAT, 93.6),
        ("e-mixed110", "single prompts, a tenth more than the fleet can do", mixed, _SINGLE, 63.2),
        ("e-tenants120", "a fifth more, five sixths of it tenant 0's", mixed, _TENANTS, 68.9),
        ("e-tenants-calm", "what is tenant 1's of it, alone", mixed, _CALM, 68.9),
    )
    return {
        name: EngineScenario(
            name,
            about,
            engines,
            replace(load, rate_hz=rate_hz * load_factor),
            warm_up_s=12.0 if engines in {mixed, same} else 8.0,
        )
        for name, about, engines, load, rate_hz in all_
    }


def _troubled(engines: Sequence[EngineSpec], name: str, *events: Event) -> tuple[EngineSpec, ...]:
    return tuple(replace(e, events=events) if e.name == name else e for e in engines)
