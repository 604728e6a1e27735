"""Search in everything that a person may open: pages, models, keys, calls, documentation."""
