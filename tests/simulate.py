"""``./dev simulate``: ``rtm simulate``, or with ``--planted`` how soon planted faults are found."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs as a file

from rtm_proto.command import main
from tests import planted

if __name__ == "__main__":
    arguments = sys.argv[1:]
    if "--planted" in arguments:
        arguments.remove("--planted")
        sys.exit(planted.main(arguments))
    sys.exit(main(["simulate", *arguments]))
