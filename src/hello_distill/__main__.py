"""`python -m hello_distill`, and what torchrun starts."""

import sys

from hello_distill.cli import main

if __name__ == "__main__":
    sys.exit(main())
