"""Code that runs inside Triton's Python backend, one file a model."""
