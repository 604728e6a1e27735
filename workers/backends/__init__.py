"""Inference servers that a pool's workers run, one folder a kind."""
