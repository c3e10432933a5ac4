"""``python -m rtm_proto.command``: the same as ``rtm``."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
