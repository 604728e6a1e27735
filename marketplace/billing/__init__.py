"""The double-entry ledger. SQL functions (``ledger/``) are the only writer."""
