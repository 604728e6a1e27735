"""Credit that nobody paid for and no member of the staff began: trials, and requests for credit."""
