"""Budgets: caps on what organisations, members and keys spend. The ledger enforces them."""
