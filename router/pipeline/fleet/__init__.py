"""Beside the calls: what routers and engines tell each other, and what a restart keeps."""
