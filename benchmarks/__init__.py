"""Every figure that the project claims, each from a command: `python -m benchmarks [NAME ...]`.

A benchmark first holds its sides against each other (`oracle`) and reports nothing where they
disagree; then it times them in turn (`timing`), and its rows go into one table and a json file
(`report`). The other sides are in `peers`.
"""
