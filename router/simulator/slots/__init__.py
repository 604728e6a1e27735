"""Workers with slots: each runs so many requests at once and queues the others."""
