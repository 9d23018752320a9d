"""Every figure that the project claims, each from a command: `python -m benchmarks [NAME ...]`."""
