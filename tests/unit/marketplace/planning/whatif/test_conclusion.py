"""The sentence that a what-if answer begins with."""

from marketplace.planning.whatif.replay.runs import Difference
from marketplace.planning.whatif.table import conclusion_of

FASTER = Difference("p99_ms", now=900.0, then=300.0, low=-700.0, high=-500.0, verdict="better")
DEARER = Difference(
    "charge_nano_per_1000", now=2e9, then=3e9, low=0.9e9, high=1.1e9, verdict="worse"
)
SAME = Difference("mean_ms", now=100.0, then=101.0, low=-5.0, high=7.0, verdict="unclear")


def test_it_names_what_is_certain_and_nothing_else() -> None:
    assert conclusion_of([FASTER, SAME], 0, 0) == "The changes help: Latency, p99 900 ms → 300 ms."
    assert conclusion_of([DEARER], 0, 0) == (
        "The changes hurt: Charged for 1,000 calls $2.00 → $3.00."
    )
    assert conclusion_of([FASTER, DEARER], 0, 0) == (
        "The changes help some figures (Latency, p99 900 ms → 300 ms) "
        "and hurt others (Charged for 1,000 calls $2.00 → $3.00)."
    )
    assert conclusion_of([SAME], 0, 0) == "The changes make no clear difference."


def test_it_says_what_the_hardware_would_cost_if_that_changes() -> None:
    assert conclusion_of([SAME], 4 * 10**9, 6 * 10**9) == (
        "The changes make no clear difference. Hardware would cost $6.00 an hour instead of $4.00."
    )
