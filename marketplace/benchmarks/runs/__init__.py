"""Running benchmarks: which one when, where, and without being in the way of live traffic."""
