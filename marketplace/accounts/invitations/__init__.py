"""Asking people into an organisation."""
