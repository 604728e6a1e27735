"""What clients speak: one module for each face, and one row of the table."""
