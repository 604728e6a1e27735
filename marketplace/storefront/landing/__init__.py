"""The landing page: what this is, what it does for latency, and how to begin."""
