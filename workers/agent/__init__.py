"""The worker agent: runs an inference server on a GPU host and keeps a marketplace informed.

Needs the standard library and httpx, and nothing else of this repository.
"""
