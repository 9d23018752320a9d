"""`python -m recurra.cli`: the `recurra` command where its script is not on the path."""

from recurra.cli import main

main()
