"""Seals: ranges of transfers whose sums are on record, so that a proof begins after them."""
