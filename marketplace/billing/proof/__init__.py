"""The proof of the ledger, and its metrics."""
