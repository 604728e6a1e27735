"""What a batch's file may be: lines that are calls, or rows of a table."""
