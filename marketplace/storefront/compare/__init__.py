"""Models side by side, under a workload of one's own."""
