import io
import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from zipfile import ZipFile

import msgspec
import numpy as np
import pytest
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from collector.errors import ForeshockError
from models import registry as registry_module
from models.cards import Card, OperatingPoint, encode
from models.registry import Registry

NOON = datetime(2026, 1, 5, 12, 30, tzinfo=UTC)
FEATURE_SET = "0123456789abcdef"
_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(200, 4))
X[::7, 1] = np.nan
Y = np.nan_to_num(X).sum(axis=1) > 0


def small_card(**changes):
    return msgspec.structs.replace(
        Card(
            head="imminence", created=NOON, feature_set=FEATURE_SET, feature_names=("a", "b", "c", "d"),
            label={"min_lead_s": 300}, label_digest="ee", horizon_s=3600,
            point=OperatingPoint(threshold=0.4, chosen_by="test"),
            data_from=NOON, data_until=NOON, n_faults=3, n_rows=200, dataset="drawn numbers", synthetic=True,
            metrics={"ap": 0.5},
        ),
        **changes,
    )  # fmt: skip


def trees(seed=0):
    # early stopping keeps a random generator in the estimator
    return HistGradientBoostingClassifier(max_iter=15, early_stopping=True, random_state=seed).fit(X, Y)


def whole_state():
    return {
        "trees": trees(),
        "linear": make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(X, Y),
        "calibration": IsotonicRegression(out_of_bounds="clip").fit(X[:, 0], Y),
        "bounds": np.array([0.0, np.nan, np.inf]),
        "counts": np.arange(3),
        "names": ["a", "b"],
        "kept": np.array([True, False]),
        "nested": {"horizons": {3600: {"weight": 0.0, "none": None, "pair": (1, 2.5)}}, "text": "x"},
    }


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "models")


def save(registry, number=0, **changes):
    return registry.save({"number": number}, small_card(**changes))


def test_a_state_comes_back_with_the_same_predictions_bit_for_bit(registry):
    state = whole_state()
    model_id = registry.save(state, small_card())
    back, card = registry.load(model_id, feature_set=FEATURE_SET)
    assert model_id.startswith("imminence-20260105T1230-")
    assert card.model_id == model_id
    for name in ("trees", "linear"):
        assert back[name].predict_proba(X).tobytes() == state[name].predict_proba(X).tobytes()
    assert back["calibration"].predict(X[:, 0]).tobytes() == state["calibration"].predict(X[:, 0]).tobytes()
    for name in ("bounds", "counts", "kept"):
        assert back[name].dtype == state[name].dtype
        assert back[name].tobytes() == state[name].tobytes()
    assert back["nested"] == state["nested"]
    assert back["names"] == state["names"]


def test_a_model_for_another_feature_set_is_refused(registry):
    model_id = save(registry)
    with pytest.raises(ForeshockError, match="feature set") as raised:
        registry.load(model_id, feature_set="f" * 16)
    assert "foreshock train" in raised.value.hint
    with pytest.raises(ForeshockError, match="feature set"):
        registry.promote(model_id, "no", feature_set="f" * 16)
    assert registry.active() is None


def test_a_file_that_is_not_the_cards_is_refused(registry):
    first, second = save(registry, 1), save(registry, 2)
    other = (registry.root / second / "model.skops").read_bytes()
    (registry.root / first / "model.skops").write_bytes(other)
    with pytest.raises(ForeshockError, match="not the file its card was written for"):
        registry.load(first, feature_set=FEATURE_SET)


def test_the_card_of_another_model_is_refused(registry):
    first, second = save(registry, 1), save(registry, 2)
    for name in ("model.skops", "card.json"):
        (registry.root / first / name).write_bytes((registry.root / second / name).read_bytes())
    with pytest.raises(ForeshockError, match="holds the card of"):
        registry.load(first, feature_set=FEATURE_SET)


def test_a_model_of_another_scikit_learn_is_refused(registry):
    model_id = save(registry, versions={"scikit-learn": "0.24.2"})
    with pytest.raises(ForeshockError, match=r"0\.24\.2"):
        registry.load(model_id, feature_set=FEATURE_SET)


def forge(registry, data):
    """A folder whose card and digest agree with `data`: what a forger with write access would make."""
    digest = registry_module._digest(data)
    model_id = f"imminence-20260105T1230-{digest[:12]}"
    folder = registry.root / model_id
    folder.mkdir(parents=True)
    (folder / "model.skops").write_bytes(data)
    (folder / "card.json").write_bytes(encode(small_card(model_id=model_id, file_digest=digest)))
    return model_id


def rewritten(data, change):
    """The same skops file with another schema."""
    out = io.BytesIO()
    with ZipFile(io.BytesIO(data)) as old, ZipFile(out, "w") as new:
        for name in old.namelist():
            body = old.read(name)
            new.writestr(name, change(json.loads(body)) if name == "schema.json" else body)
    return out.getvalue()


class Stranger:
    def __init__(self):
        self.x = 1


@pytest.mark.parametrize(
    ("evil", "told"),
    [
        (partial(os.system, "touch owned"), "posix.system|PartialNode"),
        (os.system, "system"),
        (print, "builtins.print"),
        (FunctionTransformer(os.system), "FunctionTransformer"),
        (np.exp, "exp"),
        (trees().predict, "MethodNode"),
        (Stranger(), "Stranger"),
        (Path("x"), "Path"),
        (IsolationForest(n_estimators=2).fit(np.nan_to_num(X)), "TreeNode"),
    ],
    ids=lambda value: "",
)
def test_a_file_with_an_untrusted_type_is_refused_before_anything_is_built(
    registry, tmp_path, monkeypatch, evil, told
):
    monkeypatch.chdir(tmp_path)
    model_id = forge(registry, skops.io.dumps({"x": [evil]}))
    with pytest.raises(ForeshockError, match="never holds") as raised:
        registry.load(model_id, feature_set=FEATURE_SET)
    assert any(word in str(raised.value) for word in told.split("|"))
    with pytest.raises(ForeshockError):
        registry.promote(model_id, "why not")
    with pytest.raises(ForeshockError):  # what cannot be loaded is not saved
        registry.save({"x": evil}, small_card())
    assert not Path("owned").exists()


def test_a_trusted_name_under_another_loader_is_refused(registry):
    """A constructor call of a trusted class, and a class in place of a dictionary."""

    def change(schema):
        schema["content"]["x"] = {
            "__class__": "LogisticRegression", "__module__": "sklearn.linear_model._logistic",
            "__loader__": "ConstructorFromReduceNode", "content": schema["content"]["x"],
        }  # fmt: skip
        return json.dumps(schema)

    model_id = forge(registry, rewritten(skops.io.dumps({"x": [1]}), change))
    with pytest.raises(ForeshockError, match="ConstructorFromReduceNode"):
        registry.load(model_id, feature_set=FEATURE_SET)


def test_an_older_file_layout_is_refused(registry):
    data = rewritten(skops.io.dumps({"x": 1}), lambda schema: json.dumps(schema | {"protocol": 0}))
    with pytest.raises(ForeshockError, match="protocol 0"):
        registry.load(forge(registry, data), feature_set=FEATURE_SET)


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"not a zip", skops.io.dumps([1])], ids=["0", "2", "text", "list"]
)
def test_a_file_that_is_no_model_is_refused(registry, data):
    with pytest.raises(ForeshockError):
        registry.load(forge(registry, data), feature_set=FEATURE_SET)


@pytest.mark.parametrize(
    ("column", "value"), [("left", 0), ("right", 10**6), ("feature_idx", 4), ("feature_idx", -1)]
)
def test_a_tree_that_points_outside_itself_is_refused(registry, column, value):
    """scikit-learn would read wherever it points."""
    model = trees()
    model._predictors[-1][0].nodes[column][0] = value
    with pytest.raises(ForeshockError, match="outside"):
        registry.load(forge(registry, skops.io.dumps({"m": {"deep": [model]}})), feature_set=FEATURE_SET)


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc", "", ".", "imminence", "imminence-20260105T1230-0123456789ab/..", "a-20260105T1230-0\n"],
)
def test_a_name_that_leads_elsewhere_is_refused(registry, name):
    save(registry)
    for ask in (registry.card, registry.check, lambda n: registry.promote(n, "r"), registry.remove):
        with pytest.raises(ForeshockError, match="is no model id"):
            ask(name)


def test_a_model_that_is_not_there_is_refused(registry):
    for ask in (registry.card, lambda n: registry.promote(n, "r"), registry.remove):
        with pytest.raises(ForeshockError) as raised:
            ask("imminence-20260105T1230-0123456789ab")
        assert "foreshock models list" in raised.value.hint


def test_models_are_listed_newest_first_over_all_heads(registry):
    assert registry.list() == ()
    old = save(registry, 1, created=NOON.replace(year=2025))
    new = save(registry, 2, head="a_head")
    assert registry.list() == (new, old)


def test_rollback_goes_back_step_by_step_to_before_the_first(registry):
    a, b, c = (save(registry, n) for n in range(3))
    for model_id in (a, b, c, c):
        registry.promote(model_id, f"up {model_id}")
    assert registry.active() == c
    assert [registry.rollback("back") for _ in range(3)] == [b, a, None]
    assert registry.active() is None
    with pytest.raises(ForeshockError, match="no model to roll back to"):
        registry.rollback("back")


def test_a_promotion_after_a_rollback_forgets_the_model_that_was_left(registry):
    a, b, c = (save(registry, n) for n in range(3))
    registry.promote(a, "")
    registry.promote(b, "")
    registry.rollback("b is bad")
    registry.promote(c, "")
    assert registry.rollback("c is bad") == a


def test_rollback_steps_over_removed_models(registry):
    a, b, c = (save(registry, n) for n in range(3))
    for model_id in (a, b, c):
        registry.promote(model_id, "")
    registry.remove(b, "old")
    assert registry.rollback("back") == a


def test_rollback_to_a_broken_model_is_refused_and_the_active_one_stays(registry):
    a, b = save(registry, 1), save(registry, 2)
    registry.promote(a, "")
    registry.promote(b, "")
    (registry.root / a / "model.skops").write_bytes(b"torn")
    with pytest.raises(ForeshockError):
        registry.rollback("back")
    assert registry.active() == b
    (registry.root / a / "card.json").unlink()
    registry.remove(a)  # even without a card
    assert registry.rollback("back") is None


def test_the_active_model_is_never_removed(registry):
    a, b = save(registry, 1), save(registry, 2)
    registry.promote(a, "")
    with pytest.raises(ForeshockError, match="is active"):
        registry.remove(a)
    registry.remove(b)
    assert registry.list() == (a,)


def test_history_has_every_change_with_who_and_why(registry):
    a, b = save(registry, 1), save(registry, 2)
    registry.promote(a, "first", who="ann")
    registry.promote(b, "better")
    registry.rollback("worse", who="bob")
    registry.remove(b, "bad", who="bob")
    told = [(c.change, c.model_id, c.before, c.reason) for c in registry.history()]
    assert told == [
        ("save", a, None, ""), ("save", b, None, ""), ("promote", a, None, "first"), ("promote", b, a, "better"),
        ("rollback", a, b, "worse"), ("remove", b, None, "bad"),
    ]  # fmt: skip
    assert [c.number for c in registry.history()] == [1, 2, 3, 4, 5, 6]
    assert registry.history()[2].who == "ann"
    assert "@" in registry.history()[3].who


def test_a_crash_between_switch_and_log_loses_no_line(registry):
    a, b = save(registry, 1), save(registry, 2)
    registry.promote(a, "first")
    path = registry.root / "log.jsonl"
    torn = path.read_bytes()[:-20]  # the line of the promotion reached the disk by half
    path.write_bytes(torn)
    assert [c.change for c in registry.history()] == ["save", "save", "promote"]
    registry.promote(b, "second")
    assert [c.change for c in registry.history()] == ["save", "save", "promote", "promote"]
    assert len(path.read_bytes().splitlines()) == 4


def test_a_killed_save_leaves_no_model_and_is_cleaned_up(registry):
    """A process that ends between the model file and the card, for real."""
    kept = save(registry)
    script = (
        "import os, sys; from pathlib import Path; sys.path.insert(0, 'tests/models');"
        "import test_registry as t; from models import registry as r; put = r._put\n"
        "def die(path, data):\n    put(path, data)\n    os._exit(9)\n"
        "r._put = die; t.save(r.Registry(Path(sys.argv[1])), 7)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(registry.root)], cwd=Path(__file__).parents[2], timeout=60
    )
    assert ended.returncode == 9
    assert list(registry.root.glob(".saving-*"))
    assert registry.list() == (kept,)
    next_one = save(registry, 8)
    assert set(registry.list()) == {kept, next_one}
    assert not list(registry.root.glob(".saving-*"))


def test_readers_never_see_half_a_change(registry):
    """Writers promote, roll back and add models while readers load what is active."""
    ids = [save(registry, n) for n in range(2)]
    registry.promote(ids[0], "")
    done, wrong = threading.Event(), []

    def read():
        while not done.is_set():
            try:
                model_id = registry.active()
                assert model_id is not None
                registry.load(model_id, feature_set=FEATURE_SET)
                assert all(registry.card(m).model_id == m for m in registry.list())
                registry.history()
            except (ForeshockError, OSError, ValueError, TypeError, AssertionError) as e:
                wrong.append(e)
                return

    def write(number):
        for step in range(15):
            registry.promote(ids[(number + step) % 2], "")
            save(registry, 100 * number + step)

    readers = [threading.Thread(target=read) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(n,)) for n in (1, 2)]
    for thread in readers + writers:
        thread.start()
    for thread in writers:
        thread.join(60)
    done.set()
    for thread in readers:
        thread.join(60)
    assert not wrong
    assert not any(thread.is_alive() for thread in readers + writers)
    assert len(registry.list()) == 32
    numbers = [c.number for c in registry.history()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_nothing_of_it_pickles():
    code = Path(registry_module.__file__).read_text()
    assert "pickle" not in code
    assert "joblib" not in code
