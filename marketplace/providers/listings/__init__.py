"""A listing on its way from draft to live: its states, what a draft lacks, and its check."""
