"""The double-entry ledger. SQL functions installed by its migrations are the only writer."""
