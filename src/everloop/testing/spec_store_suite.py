"""The laws that a store of specs keeps, as tests; everloop's own stores are held to the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, ClassVar, Final

from everloop.errors import NotFound
from everloop.production import Configuration, SpecStore
from everloop.project import Spec

__all__ = ["SpecStoreSuite"]

_ACTOR: Final = "alice"
_OBJECTIVE: Final = "recall at precision >= 0.80"


class SpecStoreSuite:
    """Subclass it as `Test…` with a `store`; each method is a law that pytest tries.

    labels: False for a store in which one configuration alone can hold. puts: how often a writer puts while another
    reads; each is a round to the store.
    """

    labels: ClassVar[bool] = True
    puts: ClassVar[int] = 12

    def store(self) -> SpecStore:
        """A store in which nothing was put yet, a new one each time."""
        raise NotImplementedError("give the suite a store: def store(self) -> SpecStore")

    def again(self, store: SpecStore) -> SpecStore:
        """The same place as another process reaches it; the store itself where there is no other way to it."""
        return store

    def test_where_nothing_was_put_nothing_is_made_up(self) -> None:
        """NotFound, and never a default."""
        store = self.store()
        _refuses(store, None)
        assert store.history() == [], "a store in which nothing was put has a history"

    def test_what_was_put_is_given_back_as_it_was(self) -> None:
        """Numbers, words and truth values keep their types, names their order."""
        for spec in _specs():
            store = self.store()
            store.put(spec, actor=_ACTOR)
            found = self.again(store).get()
            assert _content(found) == _wanted(spec), f"{spec.learner} came back as another configuration"
            types = {name: type(value) for name, value in found.hyperparameters.items()}
            assert types == {name: type(value) for name, value in spec.hyperparameters.items()}, "a type was lost"
            assert found.store == store.address, "a configuration names another store than its own"

    def test_the_same_again_is_no_second_version(self) -> None:
        """A put that was repeated, after a crash or by two people, changes nothing."""
        store = self.store()
        first = store.put(_spec(3), actor=_ACTOR)
        again = self.again(store).put(_spec(3), actor="bob")
        assert again.version == first.version, "the same configuration got a second version"
        assert len(store.history()) == 1

    def test_what_was_put_last_holds_and_what_was_there_stays(self) -> None:
        """An earlier version is given back under its name, and can be put again."""
        store = self.store()
        versions = [store.put(_spec(depth), actor=_ACTOR).version for depth in (3, 4, 5)]
        assert len(set(versions)) == 3, "two configurations have one version"
        assert _depth(store.get()) == 5
        assert [_depth(store.get(version)) for version in versions] == [3, 4, 5]
        store.put(_spec(3), actor=_ACTOR)
        assert _depth(store.get()) == 3, "what is put again holds again"

    def test_the_history_is_in_order_and_says_who_and_when(self) -> None:
        """Oldest first, and what holds is the last."""
        store = self.store()
        for depth in (3, 4):
            store.put(_spec(depth), actor=_ACTOR)
        history = self.again(store).history()
        assert [_depth(one) for one in history] == [3, 4], "the history is not in order"
        assert history[-1].version == store.get().version
        assert all(one.modifier for one in history), "nobody is said to have written a version"
        times = [one.at for one in history]
        assert None not in times, "a version has no time"
        assert times == sorted(times, key=str), "later versions have earlier times"

    def test_a_setting_that_was_taken_away_is_gone(self) -> None:
        """What an earlier put said does not shine through a later one."""
        store = self.store()
        store.put(_spec(3, subsample=0.8), actor=_ACTOR)
        store.put(_spec(3), actor=_ACTOR)
        assert "subsample" not in store.get().hyperparameters

    def test_an_unknown_version_is_refused(self) -> None:
        """By NotFound, also where there are others."""
        store = self.store()
        store.put(_spec(3), actor=_ACTOR)
        _refuses(store, "nosuch")

    def test_a_put_is_seen_whole_or_not_at_all(self) -> None:
        """Whoever reads while another puts sees one configuration or the next, and no mixture."""
        store = self.store()
        store.put(_whole(0), actor=_ACTOR)
        reader, failures = self.again(store), list[BaseException]()

        def write() -> None:
            try:
                for at in range(1, self.puts + 1):
                    store.put(_whole(at), actor=_ACTOR)
            except BaseException as error:
                failures.append(error)

        writer = threading.Thread(target=write)
        writer.start()
        seen: list[Configuration] = []
        while writer.is_alive() or not seen:
            seen.append(reader.get())
        writer.join()
        assert failures == []
        for found in [*seen, reader.get()]:
            values = {int(value) for value in found.hyperparameters.values()}
            assert len(values) == 1, f"a put was seen half: {dict(found.hyperparameters)}"
        assert _first(reader.get()) == self.puts

    def test_a_label_holds_what_it_was_put_on(self) -> None:
        """Under another label something else may stand; a label moves, and takes no version along."""
        if not self.labels:
            return
        store = self.store()
        store.put(_spec(3), actor=_ACTOR, label="production")
        store.put(_spec(4), actor=_ACTOR, label="candidate")
        reader = self.again(store)
        assert (_depth(reader.get("production")), _depth(reader.get("candidate"))) == (3, 4)
        assert "candidate" in reader.get("candidate").labels, "a configuration does not say its label"
        store.put(_spec(4), actor=_ACTOR, label="production")
        assert _depth(reader.get("production")) == 4
        assert len(reader.history()) == 2, "moving a label made a version"


def _specs() -> Iterator[Spec]:
    yield _spec(3, learning_rate=0.1, scale_pos_weight="balanced")
    yield _named(
        "lightgbm",
        {"n_estimators": 100, "learning_rate": 1e-05, "subsample": 1.0, "is_unbalance": True},
        features=[f"column {at}" for at in range(40)],
        calibration="isotonic",
        seed=7,
        reason="größer, and with a line\nbreak",
    )
    members = {"1.learner": "xgboost", "1.max_depth": 4, "2.learner": "lightgbm", "2.num_leaves": 15}
    yield _named("blend", members)
    yield _named("linear", {}, quantiles=["p10", "p90"])


def _spec(depth: int, **params: Any) -> Spec:
    return _named("xgboost", {"max_depth": depth, **params})


def _whole(value: int) -> Spec:
    """All of its settings have one value."""
    return _named("xgboost", {f"setting_{at:02d}": value for at in range(12)})


def _named(learner: str, params: dict[str, Any], **rest: Any) -> Spec:
    return Spec.new(name="fraud-s1", objective=_OBJECTIVE, learner=learner, hyperparameters=params, **rest)


def _wanted(spec: Spec) -> dict[str, Any]:
    return spec.content


def _content(found: Configuration) -> dict[str, Any]:
    said = {name: value for name, value in found.said.items() if name != "reason"}
    said |= {name: list(said[name]) for name in ("features", "quantiles") if name in said}
    return {"learner": found.learner, "hyperparameters": dict(found.hyperparameters), **said}


def _depth(found: Configuration) -> object:
    return found.hyperparameters.get("max_depth")


def _first(found: Configuration) -> int:
    return int(next(iter(found.hyperparameters.values())))


def _refuses(store: SpecStore, version: str | None) -> None:
    try:
        found = store.get(version)
    except NotFound:
        return
    raise AssertionError(f"asked for {version or 'what holds'}, the store made up {found}")
