from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmllm import interactions, splits
from mmllm.collaborative import Slist, _closed_form, ease
from mmllm.data import FOLDS, DistillSettings, ListSettings, RankLists, without
from mmllm.errors import CatalogError, MmllmError
from mmllm.rerank import zscore
from mmllm.splits import LeakError, check


def people(users=40, items=30, seed=0):
    """Two tastes: even users like even items, odd users odd ones; everybody's ratings have their own times."""
    rng = np.random.default_rng(seed)
    rows = []
    for u in range(users):
        start = int(rng.integers(1_000_000))
        for n, i in enumerate(rng.permutation(items)[:20]):
            rows.append((f"u{u:02d}", f"i{i:02d}", 5.0 if i % 2 == u % 2 else float(rng.integers(1, 5)), start + 10 * n))
    return interactions.of_rows(rows)


@pytest.mark.parametrize("name", list(splits.SPLITS))
def test_a_split_asks_for_nothing_it_taught(name):
    split = splits.SPLITS[name](people())
    assert len(split.train) and len(split.validation) and len(split.test)
    pairs = set(zip(split.refit.user.tolist(), split.refit.item.tolist(), strict=True))
    for cases in (split.validation, split.test):
        for user, history, targets, seen in zip(cases.user, cases.history, cases.targets, cases.seen, strict=True):
            assert len(targets) and not set(targets) & (set(history) | set(seen)) and set(history) <= set(seen)
            assert cases is split.validation or not {(user, t) for t in targets} & pairs
    assert split.hash == splits.SPLITS[name](people()).hash
    assert split.hash != splits.SPLITS[name](people(seed=1)).hash


def test_global_time_learns_nothing_of_the_future_and_takes_every_later_positive():
    data = people()
    split = splits.global_time(data)
    positives, _ = interactions.dense(data, positive=4.0, least=5)
    cut = split.refit.time.max()
    later = positives.where(positives.time > cut)
    assert split.refit.time.max() < later.time.min()
    known = split.test.where(~split.test.new)
    for user, targets in zip(known.user, known.targets, strict=True):
        assert set(targets) == set(later.item[later.user == user])
    new = split.test.where(split.test.new)
    assert len(new) and all(abs(len(h) - len(t)) <= 5 for h, t in zip(new.history, new.targets, strict=True))


def test_leave_last_out_asks_for_the_last():
    data = people()
    split = splits.leave_last_out(data)
    positives, _ = interactions.dense(data, positive=4.0, least=5)
    for n in range(len(split.test)):
        own = positives.item[positives.user == split.test.user[n]]
        assert split.test.targets[n].tolist() == [own[-1]] and split.test.history[n].tolist() == own[:-1].tolist()


def test_temporal_user_asks_for_everybodys_last_fifth():
    data = people()
    split = splits.temporal_user(data)
    positives, _ = interactions.dense(data, positive=4.0, least=5)
    asked = dict(zip(split.test.user.tolist(), range(len(split.test)), strict=True))
    for user in range(len(data.users)):
        own = positives.item[positives.user == user].tolist()
        if user not in asked:
            assert len(own) < 5 and split.refit.where(split.refit.user == user).item.tolist() == own
            continue
        n = asked[user]
        history, targets = split.test.history[n].tolist(), split.test.targets[n].tolist()
        tuned = split.validation.targets[split.validation.user.tolist().index(user)].tolist()
        assert history + targets == own and len(targets) == max(1, round(0.2 * len(own))) and history[-len(tuned) :] == tuned
        assert split.train.where(split.train.user == user).item.tolist() == history[: -len(tuned)]


def test_leaks_are_found():
    split = splits.leave_last_out(people())
    stolen = replace(split.test, history=(split.test.targets[0], *split.test.history[1:]))
    with pytest.raises(LeakError, match="stands in the history"):
        check(replace(split, test=stolen))
    with pytest.raises(LeakError, match="were learned"):
        check(replace(split, refit=interactions.dense(people(), positive=4.0, least=5)[0]))
    with pytest.raises(LeakError, match="reaches into the time"):
        check(split, last_before=int(split.refit.time.max()))


def test_cold_items_are_in_no_training_and_no_history():
    split, cold = splits.cold_items(splits.leave_last_out(people(users=80)), share=0.3)
    assert cold.any() and not cold[split.refit.item].any()
    assert all(cold[t].all() for t in split.test.targets) and not any(cold[h].any() for h in split.test.history)
    named = splits.make("leave-last-out" + splits.COLD, people(users=80))
    assert named.hash == splits.cold_items(splits.leave_last_out(people(users=80)))[0].hash
    with pytest.raises(MmllmError, match="split 'cold'"):
        splits.make("cold", people(users=80))


def test_reading_says_which_line_is_wrong(tmp_path):
    file = tmp_path / "interactions.csv"
    with pytest.raises(CatalogError, match="no .*interactions.csv"):
        interactions.read(tmp_path)
    file.write_text("user,item,rating,timestamp\na,x,4,10\na,x,2,20\nb,y,much,3\n")
    with pytest.raises(CatalogError, match="line 4"):
        interactions.read(tmp_path)
    file.write_text("user,item,rating,timestamp\na,x,4,10\na,x,2,20\nb,y,3,3\n")
    data = interactions.read(tmp_path)
    assert len(data) == 2 and data.rating[data.user == 0].tolist() == [2.0]  # the last word counts
    with pytest.raises(CatalogError, match="line 4: item 'y' is not in the catalog"):
        interactions.read(tmp_path, ["x"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("user,item,rating\na,x,4\n", "no column 'timestamp' but user, item, rating"),
        ("", "no column 'user' but an empty file"),
        ("user,item,rating,timestamp\na,x,4\n", "line 2, field 'timestamp': None, expected a number"),
        ("user,item,rating,timestamp\na,x,nan,1\n", "line 2, field 'rating': 'nan', expected a number"),
        ("user,item,rating,timestamp\na,x,4,inf\n", "line 2, field 'timestamp': 'inf', expected a number"),
        ("user,item,rating,timestamp\n,x,4,1\n", "line 2, field 'user': empty"),
    ],
)
def test_what_is_wrong_is_said_in_words(tmp_path, text, problem):
    (tmp_path / "interactions.csv").write_text(text)
    with pytest.raises(CatalogError, match=problem):
        interactions.read(tmp_path)


def test_all_that_is_wrong_is_listed_and_strangers_are_counted(tmp_path):
    file = tmp_path / "interactions.csv"
    file.write_bytes("\ufeffuser,item,rating,timestamp\na,x,4,1\na,y,4,1\nb,x,much,1\nb,x,4,soon\n".encode())
    checked = interactions.check(file, ["x"])
    assert str(checked) == "2 interactions, 1 of them with items that are not in the catalog"
    assert [(p.line, p.field) for p in checked.problems] == [(4, "rating"), (5, "timestamp")]
    file.write_bytes(b"user,item,rating,timestamp\n\xff,x,4,1\n")
    assert "UTF-8" in str(interactions.check(file, ["x"]).problems[0])


def test_ease_is_its_closed_form_and_knows_taste():
    matrix = interactions.dense(people(), positive=4.0, least=5)[0].matrix
    weight = ease(matrix, regularization=20.0)
    x = matrix.toarray()
    inverse = np.linalg.inv(x.T @ x + 20 * np.eye(x.shape[1]))
    want = np.eye(x.shape[1]) - inverse / np.diag(inverse)[None, :]
    np.testing.assert_allclose(weight, want - np.diag(np.diag(want)), atol=1e-5)
    even = np.array([1.0 if n in (0, 2) else 0 for n in range(x.shape[1])])
    scores = even @ weight
    names = interactions.dense(people(), positive=4.0, least=5)[0].items
    parity = np.array([int(n[1:]) % 2 for n in names])
    assert scores[parity == 0].mean() > scores[parity == 1].mean()


def test_what_is_liked_together_as_what_is_wanted_needs_no_product():
    likes = interactions.dense(people(), positive=4.0, least=5)[0].matrix.toarray().astype(np.float64)
    gram = likes.T @ likes
    np.testing.assert_allclose(_closed_form(gram, None, 20.0), _closed_form(gram, gram, 20.0), atol=1e-6)


def test_slist_without_transitions_is_ease_and_with_them_knows_what_follows():
    positives = interactions.dense(people(), positive=4.0, least=5)[0]
    weight = ease(positives.matrix, regularization=20.0)
    plain = Slist.fit(positives, regularization=20.0, transitions=0.0, half_life=None)
    np.testing.assert_allclose(plain.weight, weight, atol=1e-5)
    np.testing.assert_allclose(plain.scores(positives.sequences), positives.matrix @ weight, atol=1e-4)
    # Everybody goes round the same circle of ten, from another start: what is liked together says nothing, the order all.
    rows = [(f"u{u}", f"i{(u + n) % 10}", 5.0, n) for u in range(40) for n in range(10)]
    circle = interactions.of_rows(rows)
    history = [np.array([circle.items.index(f"i{n}") for n in (3, 4, 5)])]
    found = Slist.fit(circle, regularization=1.0, transitions=0.5, half_life=1.0).scores(history)[0]
    assert circle.items[int(found.argmax())] == "i6"
    assert np.ptp((circle.matrix @ ease(circle.matrix, regularization=1.0))[0]) < 1e-3


def test_factors_are_the_same_every_time_and_group_by_taste():
    positives = interactions.dense(people(), positive=5.0, least=1)[0]
    model = Slist.fit(positives, regularization=20.0, transitions=0.0, half_life=None)
    found = model.factors(8)
    np.testing.assert_array_equal(found, model.factors(8))
    np.testing.assert_allclose(np.linalg.norm(found[:, :4], axis=1), 1, atol=1e-5)
    both = found[:, :4] @ found[:, 4:].T
    assert np.corrcoef(both.ravel(), model.weight.ravel())[0, 1] > 0.5, "liked half times candidate half is the weight"
    parity = np.array([int(i[1:]) % 2 for i in positives.items])
    same = found @ found.T
    assert same[parity == 0][:, parity == 0].mean() > same[parity == 0][:, parity == 1].mean() + 0.1


def test_lists_are_deterministic_and_hold_no_known_positive_as_negative():
    split = splits.leave_last_out(people(users=80))
    learned = without(split.train, (split,))
    settings = ListSettings(candidates=8, positives=2, ahead=4, depth=10)
    lists = RankLists(learned, settings)
    asked = {(u, int(t)) for c in (split.validation, split.test) for u, ts in zip(c.user, c.targets, strict=True) for t in ts}
    for n in range(200):
        one, again = lists.make(n), RankLists(learned, settings).make(n) if n < 3 else None
        assert 3 <= len(one.candidates) <= 8 and len(one.candidates) == len(set(one.candidates.tolist()))
        assert one.gains.sum() == pytest.approx(1) and 1 <= (one.gains > 0).sum() <= 2
        owners = [
            u
            for u, s in enumerate(lists.sequences)
            if set(one.history) <= set(s) and set(one.candidates[one.gains > 0]) <= set(s)
        ]
        assert owners
        assert not set(one.history) & set(one.candidates)
        assert any(not set(one.candidates[one.gains == 0]) & set(lists.sequences[u]) for u in owners)
        assert any(not {(u, int(i)) for i in one.candidates[one.gains > 0]} & asked for u in owners)
        if again is not None:
            assert (one.candidates == again.candidates).all() and (one.retriever == again.retriever).all()


def test_a_list_holds_only_what_is_retrieved_positives_too():
    learned = people(users=80)
    settings = ListSettings(candidates=6, positives=2, ahead=4, depth=8)
    lists = RankLists(learned, settings)
    for n in range(100):
        one = lists.make(n)
        tops = []
        for fold in range(FOLDS):
            scores = lists._models[fold].scores([one.history])[0].astype(float)
            scores[one.history] = -np.inf
            tops.append(set(np.argsort(-scores, kind="stable")[:8].tolist()))
        assert any(set(one.candidates.tolist()) <= top for top in tops)
    with pytest.raises(MmllmError, match="first 1 retrieved"):
        RankLists(backwards(), ListSettings(candidates=2, positives=1, ahead=1, depth=1)).make(0)


def test_factors_of_a_fold_are_turned_onto_those_of_all_and_know_nothing_of_its_users():
    data = people(users=80)
    lists = RankLists(data, ListSettings(candidates=6, depth=8))
    whole = lists.settings.model(data).factors(8, seed=1)
    held = lists.factors(whole, seed=1)
    assert held.shape == (FOLDS, len(data.items), 8)
    own = lists._models[0].factors(8, seed=1)
    np.testing.assert_allclose(held[0][:, :4] @ held[0][:, 4:].T, own[:, :4] @ own[:, 4:].T, atol=1e-5)
    assert ((held - whole) ** 2).sum() < ((np.stack([m.factors(8, seed=1) for m in lists._models]) - whole) ** 2).sum()
    # What the users of a fold liked may be anything: its factors stay.
    rng = np.random.default_rng(0)
    mixed = np.where(lists.fold[data.user] == 0, rng.permutation(data.item), data.item)
    other = RankLists(replace(data, item=mixed), lists.settings)._models[0].factors(8, seed=1)
    np.testing.assert_allclose(other, own, atol=1e-5)


def backwards():
    """Everybody's last like is what nobody else likes: it is never retrieved first."""
    rows = [(f"u{n}", f"i{k}", 5.0, k) for n in range(20) for k in range(3)] + [(f"u{n}", f"own{n}", 5.0, 9) for n in range(20)]
    return interactions.of_rows(rows)


def test_no_user_to_learn_from_is_an_error():
    with pytest.raises((ValueError, MmllmError), match="no user"):
        RankLists(people().where(np.zeros(len(people()), dtype=bool)), ListSettings())


def test_lists_to_be_taught_by_hold_what_a_model_without_the_user_says_of_them():
    data = splits.leave_last_out(people(users=80)).train
    lists = RankLists(data, ListSettings(candidates=8, depth=10))
    near = DistillSettings(candidates=6, wide=0.0)
    for n in range(40):
        one, again = lists.taught(n, near), lists.taught(n, near)
        np.testing.assert_array_equal(one.candidates, again.candidates)
        assert len(set(one.candidates.tolist())) == 6 and not set(one.history) & set(one.candidates)
        users = [u for u, s in enumerate(lists.sequences) if set(one.history) <= set(s) and lists.fold[u] == one.fold]
        whole = [s[: at + 1] for u in users for s in [lists.sequences[u]] for at in range(len(s)) if s[at] == one.history[-1]]
        scores = [lists._models[one.fold].scores([h])[0] for h in whole]
        assert any(np.allclose(one.retriever, zscore(s[one.candidates]), atol=1e-5) for s in scores)
        later = [np.isin(one.candidates, lists.sequences[u]) for u in users]
        assert any(np.allclose(one.gains, liked / max(1, liked.sum())) for liked in later), (
            "what was liked later, if it was drawn"
        )
        assert any(set(one.candidates) <= set(np.argsort(-_unseen(s, h))[:10]) for s, h in zip(scores, whole, strict=True))
    assert {0.0, 1.0} == {round(float(lists.taught(n, near).gains.sum()), 3) for n in range(200)}
    wide = [lists.taught(n, DistillSettings(candidates=6, wide=1.0)) for n in range(200)]
    assert {int(c) for one in wide for c in one.candidates} == set(range(len(data.items)))


@pytest.mark.parametrize("half_life", [None, 2.0])
def test_a_retriever_scores_every_place_as_if_the_history_ended_there(half_life):
    data = splits.leave_last_out(people(users=60)).train
    model = Slist.fit(data, regularization=20.0, half_life=half_life)
    histories = [data.sequences[0][:5], data.sequences[1][:3]]
    rows = np.full((2, 5), -1)
    for n, history in enumerate(histories):
        rows[n, : len(history)] = history
    found = model.places(rows)
    for n, history in enumerate(histories):
        want = model.scores([history[: at + 1] for at in range(len(history))])
        np.testing.assert_allclose(found[n, : len(history)], want, atol=1e-6)


def test_what_a_teacher_expects_is_the_softmax_of_a_model_that_never_saw_the_fold():
    lists = RankLists(splits.leave_last_out(people(users=80)).train, ListSettings())
    rows = np.array([lists.sequences[0][:4]])
    for fold in range(FOLDS):
        found = lists.expected(rows, fold, 2.0)
        scores = lists._models[fold].scores([rows[0, : at + 1] for at in range(4)])
        want = np.exp(2.0 * np.array([zscore(s) for s in scores.astype(np.float64)]))
        np.testing.assert_allclose(found[0], want / want.sum(axis=1, keepdims=True), rtol=1e-3, atol=1e-7)


def _unseen(scores: np.ndarray, history: np.ndarray) -> np.ndarray:
    left = scores.copy()
    left[history] = -np.inf
    return left
