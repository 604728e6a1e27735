"""The catalog: models, providers, pools, workers, deployments and offers."""
