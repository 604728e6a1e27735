"""A real language model: llama.cpp with SmolLM2 as an OpenAI-compatible server."""
