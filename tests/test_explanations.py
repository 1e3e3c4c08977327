"""The judge of explanations: what it counts as borne out, and that it would see a reason that is not true."""

from __future__ import annotations

from dataclasses import replace

import pytest

from eval.explanations import Judged, judge, summary


def test_what_is_shown_stands_in_the_catalog_and_its_removal_is_seen(recommender):
    judged = judge(recommender, count=6)
    assert any(j.claims for j in judged) and not any(j.unsupported for j in judged)
    found = summary(judged)
    assert found["claims_supported"] == 1 and found["recommendations"] == 6
    assert any(j.without < j.whole for j in judged if j.without is not None)
    for j in judged:
        assert set(j.measured) <= set(j.claims) and (j.control is None or j.whole is not None)


def test_an_invented_reason_is_not_borne_out(recommender, monkeypatch):
    def lie(r, **_):
        return replace(r, explanation=replace(r.explanation, text=f"{r.title}: a purple submarine"))

    monkeypatch.setattr(recommender, "reworded", lie)
    for j in judge(recommender, count=3):
        assert set(j.claims) == {"purple", "submarine"} == set(j.unsupported)


def test_the_summary_by_hand():
    rows = [
        Judged("a", "lm", ("red", "fruit"), (), 2.0, 1.0, 2.0, ("fruit",), 0.5),
        Judged("b c", "template", ("blue",), ("blue",), 2.0, 2.0, 1.0, (), 1.5),
        Judged("d", "lm", (), (), None, None, None),
        Judged("e", "lm", ("big",), (), 1.0, 0.0, None),
    ]
    found = summary(rows)
    assert found["claims"] == 4 and found["claims_supported"] == 0.75 and found["claims_of_measured_nearness"] == 1
    assert found["cite_something_removable"] == 3 and found["removal_lowers_the_score"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["of_those_with_other_words"] == 2 and found["removal_of_other_words_lowers_the_score"] == 0.5
    assert found["worded_by_template"] == 0.25 and found["unsupported"] == [{"text": "b c", "claims": ["blue"]}]
