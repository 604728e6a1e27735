"""Measurements of our own code, run by ``make bench``. Compare ratios within one run."""
