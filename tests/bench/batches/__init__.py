"""Rows in a batch beside the same rows straight to Triton, and batches amid kills."""
