"""The comparison of models under the reader's workload."""
