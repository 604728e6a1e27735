"""What clients speak: OpenAI's API and the Open Inference Protocol, over ASGI."""
