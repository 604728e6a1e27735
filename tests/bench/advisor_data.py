"""``python -m tests.bench.advisor_data``: write the advisor's copy of the emulator's figures.

The marketplace imports no backend, so what the emulator computes reaches it as data; a unit test
says when the two differ.
"""

import sys
from collections.abc import Sequence

import msgspec

from marketplace.planning.advisor.options.roofline import FILE, EmulatedOption
from workers.backends.emulator.fleet import POOLS, EmulatedPool
from workers.backends.emulator.hardware import MODELS
from workers.backends.emulator.roofline import REQUEST_OVERHEAD_S, Profile

CHIPS = (1, 2, 4, 8)
"""Tensor-parallel variants; a socket of a CPU stays alone."""
DIGITS = 9


def figures() -> list[EmulatedOption]:
    """Every model on every pool's hardware, by chips."""
    return [
        _one(pool, model, chips)
        for model in MODELS
        for pool in POOLS
        for chips in (CHIPS if "cpu" not in pool.name else (1,))
    ]


def _one(pool: EmulatedPool, name: str, chips: int) -> EmulatedOption:
    model = MODELS[name]
    profile = Profile(model, pool.hardware, chips)
    # Of one token the weights' reading takes longest, of very many their arithmetic.
    many = 10**9
    overhead_ms = REQUEST_OVERHEAD_S * 1e3
    read_ms = profile.prefill_s(1) * 1e3 - overhead_ms
    engine = profile.engine(name, pool.sequences) if model.task == "chat" else None
    curve = engine.curve if engine else None
    steps = sorted({1, 2, 4, 8, 16, pool.slots})
    return EmulatedOption(
        model=name,
        task=model.task,
        pool=pool.name,
        hardware=pool.hardware.name,
        chips=chips,
        pool_chips=pool.chips,
        slots=pool.slots,
        read_ms=round(read_ms, DIGITS),
        token_ms=round((profile.prefill_s(many) * 1e3 - overhead_ms) / many, DIGITS),
        item_ms=round((profile.items_s(many, 1) * 1e3 - overhead_ms) / many, DIGITS)
        if model.flop_per_item
        else 0.0,
        overhead_ms=round(overhead_ms, DIGITS),
        step_ms=tuple(
            (n, round(profile.decode_step_s(n) * 1e3, DIGITS) if model.task == "chat" else 0.0)
            for n in steps
            if n <= pool.slots
        ),
        first=_rounded(curve.first) if curve else (),
        step=_rounded(curve.step) if curve else (),
        sequences=engine.sequences_max if engine else 0,
        kv_tokens=max(engine.kv_tokens, 0) if engine else 0,
    )


def _rounded(weights: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(weight, DIGITS) for weight in weights)


def main() -> int:
    """Write the file."""
    lines = b",\n".join(msgspec.json.encode(figure) for figure in figures())
    FILE.write_bytes(b"[\n" + lines + b"\n]\n")
    print(f"wrote {FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
