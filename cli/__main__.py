"""``python -m cli`` is the same as ``recon``."""

from cli.main import main

main()
