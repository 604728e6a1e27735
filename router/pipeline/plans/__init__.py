"""Where a call may go, and the most that it may cost."""
