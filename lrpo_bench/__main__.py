"""`python -m lrpo_bench`."""

import sys

from lrpo_bench.cli import main

if __name__ == "__main__":
    sys.exit(main())
