"""Has moderation models judge calls and their answers, for those who ask for it."""
