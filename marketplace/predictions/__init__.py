"""Predictions: calls of any model that need not be waited for."""
