"""What LoadGen says of a test."""

from marketplace.benchmarks.loadgen.system_under_test import verdict


def test_loadgens_verdict_is_read_with_its_reasons() -> None:
    said = "Result is : INVALID\n  Min duration satisfied : NO\n  Early stopping satisfied: NO\n"
    said += " * Only processed 50 queries.\n * Need to process at least 64 queries for early.\n"
    assert verdict(said) == (
        False,
        [
            "Min duration not satisfied",
            "Early stopping not satisfied",
            "Need to process at least 64 queries",
        ],
    )
    assert verdict("Result is : VALID\n") == (True, [])
    assert verdict("") == (False, ["LoadGen wrote no result"])
