"""A reference training loop that Foreshock can talk to: logistic regression in NumPy on synthetic data.

    FORESHOCK_JOB=demo FORESHOCK_CHECKPOINT_DIR=/run/foreshock python examples/train_numpy.py --folder /tmp/run

kill -USR1 PID: saves at the next step and goes on. kill -TERM PID: saves and exits with 0. Started again it goes on
where the last checkpoint was, with the same numbers: what is learnt does not depend on where it was interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

from collector.trainer import Checkpoints

_FEATURES = 64
_BATCH = 256


def main(argv: list[str] | None = None) -> int:
    """Train until `--steps`, or until asked to leave."""
    args = _arguments(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    file = args.folder / "model.npz"
    asks = Checkpoints("train-numpy")
    weights, step = load(file)
    print(f"step {step}: {'begun' if step == 0 else 'resumed'}, pid {os.getpid()}", flush=True)
    while step < args.steps:
        weights = trained(weights, step)
        step += 1
        if args.step_s > 0:
            time.sleep(args.step_s)
        wanted = asks.wanted()
        if wanted or step % args.every == 0 or step == args.steps:
            with asks.acknowledged(step):
                save(file, weights, step)
            print(f"step {step}: saved ({wanted or 'as planned'})", flush=True)
        if wanted == "exit":
            return 0
    print(f"step {step}: done, loss {loss(weights):.4f}", flush=True)
    return 0


def batch(step: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (_BATCH, _FEATURES) and labels of one step: a function of the step alone, so a resume repeats none."""
    rng = np.random.default_rng(step)
    x = rng.standard_normal((_BATCH, _FEATURES))
    truth = np.random.default_rng(2**32).standard_normal(_FEATURES)
    return x, (x @ truth + rng.standard_normal(_BATCH) > 0).astype(np.float64)


def trained(weights: np.ndarray, step: int) -> np.ndarray:
    """The weights after one more step of gradient descent."""
    x, y = batch(step)
    gradient: np.ndarray = x.T @ (_sigmoid(x @ weights) - y) / len(y)
    return weights - 0.1 * gradient


def loss(weights: np.ndarray) -> float:
    """Cross-entropy on a batch that training does not see."""
    x, y = batch(2**31)
    p = np.clip(_sigmoid(x @ weights), 1e-9, 1 - 1e-9)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))


def save(file: Path, weights: np.ndarray, step: int) -> None:
    """By rename, after fsync: a kill in the middle leaves the checkpoint before."""
    part = file.with_suffix(".part")
    with part.open("wb") as f:
        np.savez(f, weights=weights, step=step)
        f.flush()
        os.fsync(f.fileno())
    part.replace(file)


def load(file: Path) -> tuple[np.ndarray, int]:
    """Weights and the number of steps they have seen; zeros where there is no checkpoint."""
    if not file.exists():
        return np.zeros(_FEATURES), 0
    with np.load(file) as saved:
        return saved["weights"], int(saved["step"])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    odds: np.ndarray = np.exp(x)
    p: np.ndarray = odds / (1 + odds)
    return p


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("train-numpy-run"), help="where checkpoints are kept"
    )
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=1_000, help="steps between two planned checkpoints")
    parser.add_argument(
        "--step-s", type=float, default=0.0, help="make each step last so many seconds longer"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
