"""A fraud scorer for card transactions, trained on synthetic data and shipped as ONNX."""
