"""``python -m rtm_trio``: the command line, on trio."""

import sys

from rtm_proto.command import main

if __name__ == "__main__":
    sys.exit(main(runtime="trio"))
