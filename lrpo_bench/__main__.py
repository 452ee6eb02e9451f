"""`python -m lrpo_bench`."""

import sys

from lrpo_bench.cli import main

if __name__ == "__main__":  # a forked cell of a sweep imports this module again, under another name
    sys.exit(main())
