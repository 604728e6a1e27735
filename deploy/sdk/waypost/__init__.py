"""Waypost's Python client. Start with :class:`Client` or :class:`AsyncClient`."""

from waypost.client import AsyncClient, Client
from waypost.errors import ApiError, WaypostError
from waypost.retries import Retries
from waypost.shapes import Batch, ChatAnswer, ChatChunk, Embeddings, Prediction, Route, Routing
from waypost.tensors import Tensor, Tensors

__all__ = [
    "ApiError",
    "AsyncClient",
    "Batch",
    "ChatAnswer",
    "ChatChunk",
    "Client",
    "Embeddings",
    "Prediction",
    "Retries",
    "Route",
    "Routing",
    "Tensor",
    "Tensors",
    "WaypostError",
]
