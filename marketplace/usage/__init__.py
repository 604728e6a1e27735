"""What was called: one event a call, written by the ledger when it settles."""
