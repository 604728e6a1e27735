"""Models in order of their use or their measured speed."""
