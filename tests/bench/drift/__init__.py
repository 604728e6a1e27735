"""A fleet drifts away from its benchmarks: how long it takes until routing has followed."""
