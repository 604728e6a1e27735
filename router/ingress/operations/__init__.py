"""What operators ask: health, state and metrics."""
