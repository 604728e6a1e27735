"""Holds from leases, the journal on disk, and the settler that takes it to the ledger."""
