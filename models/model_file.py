"""The file of a model: what may be in it, and how it is opened without running anything that is in it.

scikit-learn takes seconds to import, and whoever only reads cards (the watcher, between two decisions) has none: it is
imported where a file is packed or opened.
"""

from __future__ import annotations

import io
import json
from typing import Any, Final
from zipfile import BadZipFile, ZipFile

import numpy as np

from collector.errors import ForeshockError

State = dict[str, Any]
_RETRAIN: Final = "train again: foreshock train"

# The skops loader and the exact types it may build. No functions, methods, partials or constructor calls.
TRUSTED: Final[dict[str, frozenset[str]]] = {
    loader: frozenset(types.split())
    for loader, types in {
        "JsonNode": "builtins.str",
        "DictNode": "builtins.dict",
        "ListNode": "builtins.list",
        "TupleNode": "builtins.tuple",
        "TypeNode": "builtins.str builtins.int builtins.float",  # of dictionary keys
        "DTypeNode": "numpy.dtype",
        "NdArrayNode": "numpy.ndarray numpy.bool numpy.int8 numpy.int32 numpy.int64 numpy.uint8 numpy.uint32 "
        "numpy.uint64 numpy.float32 numpy.float64 numpy.str_",
        "RandomGeneratorNode": "numpy.random._generator.Generator",
        "LossNode": "sklearn._loss._loss.CyHalfBinomialLoss sklearn._loss._loss.CyHalfMultinomialLoss",
        "ObjectNode": "sklearn._loss.link.Interval sklearn._loss.link.LogitLink sklearn._loss.link.MultinomialLogit "
        "sklearn._loss.loss.HalfBinomialLoss sklearn._loss.loss.HalfMultinomialLoss "
        "sklearn.calibration.CalibratedClassifierCV sklearn.calibration._CalibratedClassifier "
        "sklearn.calibration._SigmoidCalibration "
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper "
        "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier "
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor "
        "sklearn.impute._base.SimpleImputer sklearn.isotonic.IsotonicRegression "
        "sklearn.linear_model._logistic.LogisticRegression sklearn.pipeline.Pipeline "
        "sklearn.preprocessing._data.StandardScaler sklearn.preprocessing._label.LabelEncoder",
    }.items()
}
_OLDEST_PROTOCOL: Final = 2  # older skops layouts have loaders of their own, not covered by TRUSTED
_LARGEST_BYTES: Final = 1 << 30  # unpacked; a model of ours has a few MB


def packed(state: State) -> bytes:
    """A model file of `state`. It may hold anything: `opened` tells."""
    import skops.io

    return bytes(skops.io.dumps(state))


def opened(data: bytes, name: str) -> State:
    """The state in a model file, built only if every type in it is TRUSTED and no tree points outside itself."""
    import skops.io

    try:
        foreign = _foreign(data)
        if not foreign:
            state = skops.io.loads(data, trusted=sorted(frozenset().union(*TRUSTED.values())))
            _check_trees(state)
            if isinstance(state, dict):
                return state
    except (BadZipFile, KeyError, ValueError, TypeError, AttributeError, IndexError, RecursionError) as e:
        raise ForeshockError(
            f"{name} is no model file of ours: {type(e).__name__}: {e}", hint=_RETRAIN
        ) from e
    raise ForeshockError(
        f"{name} holds what a model of ours never holds: {', '.join(sorted(foreign)) or 'no dictionary'}",
        hint="do not use this file; find out who wrote it, and train again: foreshock train",
    )


def _foreign(data: bytes) -> set[str]:
    """Types in a skops file that are not TRUSTED, each with its loader. Nothing is built."""
    with ZipFile(io.BytesIO(data)) as file:
        if sum(member.file_size for member in file.infolist()) > _LARGEST_BYTES:
            raise ValueError("it unpacks to more than 1 GiB")
        schema = json.loads(file.read("schema.json"))
    if schema["protocol"] < _OLDEST_PROTOCOL:
        raise ValueError(f"skops protocol {schema['protocol']} is too old")
    todo, foreign = [schema], set()
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            if "__loader__" in node or "__class__" in node:
                loader, kind = node["__loader__"], f"{node['__module__']}.{node['__class__']}"
                if loader != "CachedNode" and kind not in TRUSTED.get(loader, ()):
                    foreign.add(f"{kind} ({loader})")
            node = list(node.values())
        todo += node if isinstance(node, list) else []
    return foreign


def _check_trees(state: State) -> None:
    """scikit-learn follows a tree's indices without looking (skops names it as the reason not to trust a tree)."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    todo, seen = [state], set()
    while todo:
        one: Any = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, HistGradientBoostingClassifier):
            if one._preprocessor is not None:
                raise ValueError("trees over categories")
            for tree in (tree for trees in one._predictors for tree in trees):
                _check_tree(tree.nodes, one.n_features_in_)
        todo += one.values() if isinstance(one, dict) else one if isinstance(one, list | tuple) else ()
        todo += vars(one).values() if hasattr(one, "__dict__") and not isinstance(one, type) else ()


def _check_tree(nodes: Any, n_features: int) -> None:
    inner, number = nodes["is_leaf"] == 0, np.arange(len(nodes))
    for side in ("left", "right"):  # children come after their parent: no loop and no way out
        if not ((nodes[side] > number) & (nodes[side] < len(nodes)))[inner].all():
            raise ValueError("a tree that points outside itself")
    feature = nodes["feature_idx"][inner]
    if not len(nodes) or not ((feature >= 0) & (feature < n_features)).all():
        raise ValueError("a tree that points outside its features")
    if nodes["is_categorical"].any():
        raise ValueError("a tree over categories")
