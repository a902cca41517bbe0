"""`python -m controlplane.cli` is `weir`."""

from controlplane.cli import main

main()
