"""Payments in the ledger: amounts, transfers, and the proof that they agree."""
