"""What callers saw, as figures and as tables."""
