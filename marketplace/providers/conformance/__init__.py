"""Real calls to an endpoint, to decide whether it may be sold."""
