"""Waypost's data plane: takes a request, finds the worker that completes it first, meters it."""
