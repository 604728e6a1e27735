"""Rankings of models by use or measured speed."""
