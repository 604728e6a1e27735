"""Tests that call the demo's models, and look at how quick that was or at what was called."""
