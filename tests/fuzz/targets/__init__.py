"""The targets: ``run(data)`` raises only on a real fault, and leaves nothing behind.

Each file has the targets of some modules; TARGETS names them all. What is bounded in production by
megabytes is bounded here by hundreds of bytes, so that a few kilobytes of input can reach it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .codecs import fuzz_inspection, fuzz_json, fuzz_package, fuzz_payload
from .connections import fuzz_connection
from .downloads import fuzz_download
from .files import fuzz_attrs, fuzz_received
from .gates import fuzz_gate
from .links import fuzz_link
from .upgrades import fuzz_upgrade

TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "package": fuzz_package,
    "payload": fuzz_payload,
    "json": fuzz_json,
    "link": fuzz_link,
    "upgrade": fuzz_upgrade,
    "attrs": fuzz_attrs,
    "received": fuzz_received,
    "connection": fuzz_connection,
    "gate": fuzz_gate,
    "inspection": fuzz_inspection,
    "download": fuzz_download,
}
