"""Calls that were refused before they ran."""
