"""Gateways side by side: the same seeded work before each, on workers that are emulated.

For each *target* a run starts a fresh fleet, a fresh gateway in front of it and one load, and says
what the callers saw. ``python -m tests.judge --help`` (``make judge``) runs it.
"""
