"""Workers that are slower than their pool."""
