"""What Taskmaster costs, beside its peers and beside the ideal: ``python -m benchmarks --help``."""
