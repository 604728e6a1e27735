"""Usage: one event for each call, written by the ledger when the call settles."""
