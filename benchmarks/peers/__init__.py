"""The other sides: the same computations as they are written without recurra."""
