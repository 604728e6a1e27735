"""Files of an organisation: kept within its quota, and let go."""
