"""LLM engines, which batch continuously, and the chat sessions that call them."""
