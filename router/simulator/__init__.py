"""Runs the scheduler's own code under virtual time, on a simulated fleet and workload.

It answers "what if": another policy, another fleet, more load. Seeded and exactly reproducible.
"""
