"""The scheduler under virtual time: the same code, a fleet and a workload that cost nothing to run.

It answers "what if": another policy, another fleet, more load. Seeded and exactly reproducible.
"""
