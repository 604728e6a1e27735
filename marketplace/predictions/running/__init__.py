"""The job of a prediction: a model's one call, or a pipeline's stages."""
