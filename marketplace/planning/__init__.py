"""Questions about hardware and policies that are not there: what-if, and the hardware advisor."""
