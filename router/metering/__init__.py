"""Holds out of leases, a journal on disk, and the settler that carries it to the ledger."""
