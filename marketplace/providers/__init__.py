"""The providers' console: listings from draft to live, their checks, prices and traffic."""
