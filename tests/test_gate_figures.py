"""A gate's figures: what is counted, and that Prometheus can read it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from rtm_proto.codes import Code
from rtm_proto.gate.figures import BUCKETS, Family, Figures, Histogram, Sample, exposition, gauge


def read(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Every sample, as Prometheus' own parser sees it: by name, then by labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text + "\n"):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {}), "told twice"
            found[sample.name][labels] = sample.value
    return found


def test_all_that_is_counted_can_be_read() -> None:
    figures = Figures(["auth", "sendfile"])
    figures.came["main"] += 3
    figures.turned_away["files"] += 1
    figures.logins["ok"] += 2
    figures.quest_ended("auth", 0)
    figures.quest_ended("auth", 0)
    figures.quest_ended("sendfile", Code.NOT_GROUP_MEMBER)
    figures.pushes["pushmsg"] += 4
    figures.push_ends["answered"] += 4
    figures.bytes_in, figures.bytes_out = 5, 6
    figures.stored("SaveFile", 0.003, failed=False)
    figures.stored("SaveFile", 0.2, failed=True)
    found = read(exposition(figures.families()))
    assert found["rtm_gate_connections_total"] == {(("port", "main"),): 3}
    assert found["rtm_gate_connections_refused_total"] == {(("port", "files"),): 1}
    assert found["rtm_gate_logins_total"] == {(("result", "ok"),): 2}
    assert found["rtm_gate_quests_total"] == {
        (("code", "0"), ("method", "auth")): 2,
        (("code", "200041"), ("method", "sendfile")): 1,
    }
    assert found["rtm_gate_pushes_total"] == {(("method", "pushmsg"),): 4}
    assert found["rtm_gate_push_ends_total"] == {(("end", "answered"),): 4}
    assert found["rtm_gate_bytes_total"] == {
        (("direction", "in"),): 5,
        (("direction", "out"),): 6,
    }
    assert found["rtm_gate_store_faults_total"] == {(("effect", "SaveFile"),): 1}
    assert found["rtm_gate_store_seconds_count"] == {(("effect", "SaveFile"),): 2}
    assert found["rtm_gate_store_seconds_sum"] == {(("effect", "SaveFile"),): 0.203}
    buckets = found["rtm_gate_store_seconds_bucket"]
    assert buckets[("effect", "SaveFile"), ("le", "0.0025")] == 0
    assert buckets[("effect", "SaveFile"), ("le", "0.005")] == 1
    assert buckets[("effect", "SaveFile"), ("le", "0.25")] == 2
    assert buckets[("effect", "SaveFile"), ("le", "+Inf")] == 2


@given(st.lists(st.tuples(st.text(max_size=9), st.integers(-(2**40), 2**40)), max_size=200))
def test_whatever_strangers_ask_the_labels_are_bounded(quests: list[tuple[str, int]]) -> None:
    figures = Figures(["auth"])
    for method, code in quests:
        figures.quest_ended(method, code)
    assert len(figures.quests) <= 2 * (len(Code) + 2)
    assert {method for method, _ in figures.quests} <= {"auth", "other"}
    found = read(exposition(figures.families()))
    assert sum(found.get("rtm_gate_quests_total", {}).values()) == len(quests)


def test_a_code_that_nobody_published_is_another() -> None:
    figures = Figures(["auth"])
    figures.quest_ended("auth", 7)
    found = read(exposition(figures.families()))
    assert found["rtm_gate_quests_total"] == {(("code", "other"), ("method", "auth")): 1}


@given(st.lists(st.floats(0, 100)))
def test_a_histogram_has_every_time_in_its_buckets(times: list[float]) -> None:
    histogram = Histogram()
    for seconds in times:
        histogram.add(seconds)
    samples = histogram.samples({"effect": "x"})
    counts = [sample.value for sample in samples if sample.suffix == "_bucket"]
    assert counts == [sum(t <= most for t in times) for most in (*BUCKETS, float("inf"))]
    assert samples[-1].value == len(times)
    assert [sample.labels["le"] for sample in samples[:2]] == ["0.001", "0.0025"]


@given(st.text())
def test_a_label_may_have_anything_in_it(text: str) -> None:
    if set(text) & set("\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"):
        return  # the parser that reads it here takes these for the end of a line; Prometheus not
    said = exposition([Family("x", "gauge", "X.", [Sample({"label": text}, 1.5)])])
    assert read(said) == {"x": {(("label", text),): 1.5}}


def test_a_gauge_is_one_figure() -> None:
    assert exposition([gauge("x", "What it is.", 2.0)]) == (
        "# HELP x What it is.\n# TYPE x gauge\nx 2"
    )
