"""What an extra brings is asked for by name when it is missing; exports are what they claim."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("rtm_proto.websocket", "h11", "websocket"),
        ("rtm_proto.websocket", "wsproto", "websocket"),
        ("rtm_proto.download", "h11", "websocket"),
        ("rtm_proto.proxies", "h11", "websocket"),
        ("rtm_proto.socks", "socksio", "proxy"),
        ("rtm_proto.gate.gate", "wsproto", "websocket"),
        ("rtm_proto.encryption", "cryptography", "encryption"),
        ("rtm_proto.gate.recognised", "filetype", "recognise"),
        ("rtm_proto.gate.thumbnails", "PIL", "thumbnails"),
        ("rtm_proto.testing.strategies", "hypothesis", "testing"),
        ("rtm_proto.testing.streams", "anyio", "testing"),
        ("rtm_trio", "trio", "trio"),
        ("rtm_trio", "wsproto", "trio"),
        ("rtm_trio", "h11", "trio"),
        ("rtm_asyncio", "anyio", "asyncio"),
        ("rtm_asyncio", "wsproto", "asyncio"),
        ("rtm_asyncio", "h11", "asyncio"),
    ],
)
def test_a_missing_extra_is_named(module: str, missing: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"try:\n    import {module}\n"
        "except ImportError as exc:\n    print(exc)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    assert done.stdout == f"{module_named(module)} needs {missing}: {hint(extra)}\n"


def test_a_socks_proxy_needs_its_extra_and_an_http_proxy_does_not() -> None:
    code = (
        "import sys; sys.modules['socksio'] = None\n"
        "from rtm_proto.proxies import parse_proxy\n"
        "print(parse_proxy('http://h:1'))\n"
        "try:\n    parse_proxy('socks5://u:p@h:1')\n"
        "except ImportError as exc:\n    print(exc)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    assert done.stdout == f"http://h:1\nrtm_proto.socks needs socksio: {hint('proxy')}\n"


def module_named(module: str) -> str:
    """Whose message it is: the gate is stopped by the first room that needs the package."""
    return "rtm_proto.websocket" if module == "rtm_proto.gate.gate" else module


def hint(extra: str) -> str:
    return f"pip install 'rtm-proto[{extra}]'"


@pytest.mark.parametrize("package", ["rtm_proto", "rtm_trio", "rtm_asyncio"])
def test_a_package_exports_just_what_it_lists(package: str) -> None:
    module = importlib.import_module(package)
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and name != "annotations"
        and not hasattr(value, "__path__")  # a package
        and type(value).__name__ != "module"
    }
    assert public == set(module.__all__)


def test_the_adapters_export_the_same_names() -> None:
    trio, asyncio = importlib.import_module("rtm_trio"), importlib.import_module("rtm_asyncio")
    assert trio.__all__ == asyncio.__all__
