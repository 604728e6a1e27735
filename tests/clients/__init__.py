"""What clients made by others do with the Responses API of a real router."""
