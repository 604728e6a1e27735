"""What people read in a terminal about a stack."""
