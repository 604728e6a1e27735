"""The Open Inference Protocol v2: REST, gRPC and tensors."""
