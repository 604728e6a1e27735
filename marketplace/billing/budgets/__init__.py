"""Caps on what organisations, members and keys may spend. The ledger's functions keep them."""
