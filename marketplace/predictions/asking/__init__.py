"""What a prediction is asked with: headers, a model or a pipeline, and the page for it."""
