"""What stands between torch and whatever runs a plan's loops.

Sections outside the loops, tables of tokens, autograd, operators, padding, memory.
"""
