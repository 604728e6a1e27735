"""The real Triton Inference Server, with a fraud scorer and an embeddings model."""
