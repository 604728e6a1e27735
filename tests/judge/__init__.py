"""Compare gateways: the same seeded work for each, on emulated workers.

For each *target* a run starts a fresh fleet, a fresh gateway in front of it and one load, and says
what the callers saw. ``python -m tests.judge --help`` (``make judge``) runs it.
"""
