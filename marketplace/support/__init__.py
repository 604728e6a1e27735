"""The support view: staff read a customer's data, and each look is recorded."""
