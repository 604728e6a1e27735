"""Rows in a batch compared with the same rows sent to Triton, and batches during kills."""
