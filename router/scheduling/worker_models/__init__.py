"""What a request takes on a worker and what it costs others there: slots, and LLM engines."""
