"""What is on sale and where it runs: models, providers, pools, workers, deployments, offers."""
