"""Recorded calls under virtual time: what they are about, their runs, and what to know of them."""
