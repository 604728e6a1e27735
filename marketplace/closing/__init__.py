"""Closing an organisation: what ends with it in every app, and what stays."""
