"""Free credit that staff do not initiate: trial credit, and requests for credit."""
