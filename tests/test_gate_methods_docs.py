"""docs/gate-methods.md has every method of the gate, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from rtm_proto.gate.limits import Limits
from tests.hall import Hall

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "gate-methods.md").read_text()
HEAD = "| method | who | fields | answer | codes | source |"


def rows() -> dict[str, list[str]]:
    """The cells of each method's row."""
    found: dict[str, list[str]] = {}
    for table in PAGE.split(HEAD)[1:]:
        for line in table.strip().splitlines()[1:]:
            if not line.startswith("|"):
                break
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert len(cells) == 6, line
            assert cells[0] not in found, f"{cells[0]} stands there twice"
            found[cells[0]] = cells
    return found


def test_every_method_is_written_down_and_every_one_written_down_is_there() -> None:
    methods = Hall().decisions.methods
    assert set(rows()) == set(methods)
    for name, method in methods.items():
        assert rows()[name][1] == method.who.value, name


def test_every_method_says_where_it_comes_from() -> None:
    assert all(cells[5] for cells in rows().values())


def test_the_figures_on_the_page_are_the_gates() -> None:
    limits = Limits()
    for figure in (
        f"{limits.max_message:,} bytes",
        f"attrs over {limits.max_attrs:,}",
        f"at most {limits.max_history} a read",
        f"over {limits.max_rooms} rooms",
        f"over {limits.max_items} at once",
        f"`max_failed_logins` ({limits.max_failed_logins})",
        f"`max_logins`\n({limits.max_logins})",
    ):
        assert figure in PAGE, figure
    assert limits.failed_logins is not None
    assert f"({limits.failed_logins.burst} at once, then one in ten seconds)" in PAGE
    assert limits.failed_logins.per_second == 1 / 10


def test_every_limit_that_the_page_names_is_one() -> None:
    for name in re.findall(r"`(max_\w+|\w+_logins|\w+_ids)`", PAGE):
        assert hasattr(Limits(), name), name
