"""Emulated catalogs and histories, to see and to measure how pages do at size."""
