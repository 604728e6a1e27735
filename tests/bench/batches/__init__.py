"""Rows in a batch beside the same rows directly to Triton, and batches during kills."""
