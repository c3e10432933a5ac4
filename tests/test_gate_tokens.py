"""File tokens: one send of one user to one target, once, and not for long."""

from __future__ import annotations

import itertools
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from rtm_proto.gate.tokens import (
    MAX_TOKENS,
    NO_DIGEST,
    TOKEN_LIFE,
    Grant,
    Tokens,
    token_digest,
)

GRANT = Grant(11000001, 1001, "sendfile", 1002)


def tokens(*, bound: int = MAX_TOKENS, life: float = TOKEN_LIFE) -> Tokens:
    numbers = itertools.count()
    return Tokens(lambda: f"token {next(numbers)}", bound=bound, life=life)


def test_a_token_is_good_for_what_it_was_issued_for() -> None:
    issued = tokens()
    token = issued.issue(GRANT, now=5.0)
    assert issued.granted(token, now=5.0) == GRANT
    assert len(issued) == 1


def test_looking_does_not_spend() -> None:
    issued = tokens()
    token = issued.issue(GRANT, now=5.0)
    assert [issued.granted(token, now=5.0) for _ in range(3)] == [GRANT] * 3


def test_a_token_lives_sixty_seconds() -> None:
    issued = tokens()
    token = issued.issue(GRANT, now=100.0)
    assert issued.granted(token, now=160.0) == GRANT
    assert issued.granted(token, now=160.001) is None


def test_a_renewed_token_lives_on_and_is_forgotten_in_its_turn() -> None:
    issued = tokens()
    token = issued.issue(GRANT, now=100.0)
    issued.renew(token, 600.0, now=150.0)
    assert issued.granted(token, now=750.0) == GRANT
    assert issued.granted(token, now=750.001) is None
    issued.issue(GRANT, now=750.0)
    assert len(issued) == 2
    issued.issue(GRANT, now=750.001)
    assert len(issued) == 2


def test_nobody_has_a_token_that_was_never_issued() -> None:
    issued = tokens()
    assert issued.granted("", now=0.0) is None
    assert issued.granted("token 0", now=0.0) is None


def test_a_spent_token_is_spent() -> None:
    issued = tokens()
    token = issued.issue(GRANT, now=0.0)
    issued.spend(token)
    assert issued.granted(token, now=0.0) is None
    assert len(issued) == 0


def test_spending_what_is_spent_already_is_harmless() -> None:
    issued = tokens()
    issued.spend("never issued")
    assert len(issued) == 0


def test_a_token_is_won_once_by_a_thousand_racers() -> None:
    issued = tokens()
    token = issued.issue(GRANT, now=0.0)
    winners = 0
    for _ in range(1000):
        if issued.granted(token, now=1.0):
            issued.spend(token)
            winners += 1
    assert winners == 1


def test_old_tokens_are_forgotten_when_new_ones_are_issued() -> None:
    issued = tokens()
    for second in range(200):
        issued.issue(GRANT, now=float(second))
        assert len(issued) <= TOKEN_LIFE + 1


def test_the_number_of_tokens_has_a_bound_and_the_oldest_goes_first() -> None:
    issued = tokens(bound=3)
    given_out = [issued.issue(GRANT, now=0.0) for _ in range(5)]
    assert len(issued) == 3
    assert [issued.granted(token, now=0.0) is not None for token in given_out] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_the_bounds_where_none_is_given() -> None:
    assert MAX_TOKENS == 100_000


def test_a_bound_of_nothing_still_issues_the_newest() -> None:
    issued = tokens(bound=0)
    assert issued.granted(issued.issue(GRANT, now=0.0), now=0.0)


def test_no_repr_shows_a_token() -> None:
    issued = tokens()
    token = issued.issue(GRANT, now=0.0)
    assert token not in repr(issued) and token not in repr(GRANT)


def test_who_asked_for_a_token_is_no_part_of_what_it_is_for() -> None:
    by_server = Grant(11000001, 1001, "sendfile", 1002, by_server=True)
    assert by_server == GRANT and not GRANT.by_server
    issued = tokens()
    granted = issued.granted(issued.issue(by_server, now=0.0), now=0.0)
    assert granted is not None and granted.by_server


# --- login tokens ---


def test_of_a_login_token_a_digest_is_kept() -> None:
    assert token_digest("token") == sha256(b"token").hexdigest()
    assert token_digest("\udcff") == sha256(b"\xff").hexdigest()
    assert len(NO_DIGEST) == len(token_digest("")) and NO_DIGEST != token_digest("")


# --- any order of things ---

grants = st.builds(
    Grant,
    st.just(1),
    st.integers(1, 3),
    st.sampled_from(["sendfile", "sendgroupfile"]),
    st.integers(1, 3),
)


class AgainstAPlainList(RuleBasedStateMachine):
    """Tokens beside a list that forgets nothing."""

    made = Bundle("made")

    def __init__(self) -> None:
        super().__init__()
        self.tokens = tokens(bound=5, life=10.0)
        self.now = 0.0
        self.known: dict[str, tuple[Grant, float]] = {}
        self.spent: set[str] = set()

    @rule(target=made, grant=grants)
    def issue(self, grant: Grant) -> str:
        token = self.tokens.issue(grant, now=self.now)
        self.known[token] = (grant, self.now)
        return token

    @rule(token=made)
    def check(self, token: str) -> None:
        right, issued = self.known[token]
        newest = list(self.known)[-5:]  # the bound cannot have reached these
        granted = self.tokens.granted(token, now=self.now)
        if granted is not None:
            assert granted == right and self.now - issued <= 10.0 and token not in self.spent
        elif token in newest and token not in self.spent:
            assert self.now - issued > 10.0

    @rule(token=made)
    def spend(self, token: str) -> None:
        self.tokens.spend(token)
        self.spent.add(token)

    @rule(seconds=st.floats(0, 7))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def within_its_bound(self) -> None:
        assert len(self.tokens) <= 5


TestAgainstAPlainList = AgainstAPlainList.TestCase


@given(st.lists(st.floats(0, 100), max_size=50))
def test_what_is_kept_is_never_older_than_the_newest_allows(gaps: list[float]) -> None:
    issued = tokens()
    now = 0.0
    times: list[float] = []
    for gap in gaps:
        now += gap
        issued.issue(GRANT, now=now)
        times.append(now)
        assert len(issued) == sum(now <= time + TOKEN_LIFE for time in times)
