"""Predictions: calls of any model that nobody waits for."""
