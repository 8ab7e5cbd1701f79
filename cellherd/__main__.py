"""`python -m cellherd` is the `cellherd` command."""

from cellherd.cli import main

main()
