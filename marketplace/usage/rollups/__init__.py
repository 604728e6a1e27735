"""Sums over calls that are alike: their tables, and reading them."""
