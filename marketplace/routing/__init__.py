"""Routing: policies, and the snapshot that the router reads."""
