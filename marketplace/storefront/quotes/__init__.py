"""Quotes: the cost of a call at each provider."""
