"""Who waits, in which order, who is told to come back, and who is refused early."""
