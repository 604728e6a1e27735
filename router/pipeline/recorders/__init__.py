"""What is remembered of finished calls, in memory."""
