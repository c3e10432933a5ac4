"""``python -m rtm_asyncio``: the command line, on asyncio."""

import sys

from rtm_proto.command import main

if __name__ == "__main__":
    sys.exit(main(runtime="asyncio"))
