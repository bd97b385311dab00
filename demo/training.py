"""A real training process: a small network in NumPy with an Adam optimizer, its checkpoints, and a signal.

It writes its pid for the bridge, saves at the next step boundary after SIGUSR1, and acknowledges. Every step
draws its batch from (seed, step), so a resumed run must repeat the very losses of the first one.

    python -m demo.training --directory DIR [--config FILE] [--checkpoint-every-s 1800] [--resume FILE --steps N]
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from collector.clock import Clock, SystemClock
from collector.config_file import load

NAME: Final = "train"
_SEED: Final = 79
_WIDTHS: Final = (32, 256, 256, 1)
_BATCH: Final = 256
_STEP_S: Final = 0.03
"""Real seconds a step takes at least, so that a demo on a fast machine is not a race."""

Arrays = list[NDArray[np.float64]]


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True):
    """Written beside the checkpoint when it is on disk. `time` is Unix seconds of the demo's clock."""

    step: int
    time: float
    seconds: float
    loss: float
    path: str
    reason: str


@dataclass(slots=True)
class Model:
    """Parameters and the state of Adam (Kingma & Ba, 2015); everything that must survive."""

    step: int
    weights: Arrays
    first: Arrays
    second: Arrays


@dataclass(slots=True)
class Requests:
    """What signals asked for since the last step boundary."""

    checkpoint: bool = False
    stop: bool = False
    started_s: float = field(default_factory=time.monotonic)


def new_model() -> Model:
    rng = np.random.default_rng(_SEED)
    weights = [rng.standard_normal((a, b)) / np.sqrt(a) for a, b in itertools.pairwise(_WIDTHS)]
    return Model(0, weights, [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights])


def train_step(model: Model) -> float:
    """One step of Adam on a batch that depends on the step alone; the loss before the step."""
    rng = np.random.default_rng([_SEED, model.step])
    x = rng.standard_normal((_BATCH, _WIDTHS[0]))
    y = np.sin(x[:, :4].sum(axis=1, keepdims=True)) + 0.1 * x[:, 4:5]
    layers = [x]
    for w in model.weights[:-1]:
        layers.append(np.maximum(layers[-1] @ w, 0.0))
    error = layers[-1] @ model.weights[-1] - y
    grad = 2.0 * error / _BATCH
    gradients: Arrays = []
    for w, inputs in zip(reversed(model.weights), reversed(layers), strict=True):
        gradients.append(inputs.T @ grad)
        grad = (grad @ w.T) * (inputs > 0)
    model.step += 1
    _adam(model, gradients[::-1])
    return float(np.mean(error**2))


def _adam(model: Model, gradients: Arrays, rate: float = 1e-3) -> None:
    correct_first, correct_second = 1 - 0.9**model.step, 1 - 0.999**model.step
    for i, g in enumerate(gradients):
        model.first[i] += 0.1 * (g - model.first[i])
        model.second[i] += 0.001 * (g * g - model.second[i])
        scale = np.sqrt(model.second[i] / correct_second) + 1e-8
        model.weights[i] -= rate * (model.first[i] / correct_first) / scale


def save(model: Model, path: Path) -> None:
    """Whole or not at all: written aside, flushed to disk, renamed."""
    aside = path.with_suffix(".tmp")
    groups = {"weights": model.weights, "first": model.first, "second": model.second}
    arrays = {f"{name}{i}": a for name, group in groups.items() for i, a in enumerate(group)}
    with aside.open("wb") as f:
        np.savez(f, step=np.array(model.step), **arrays)  # type: ignore[arg-type]
        f.flush()
        os.fsync(f.fileno())
    aside.replace(path)


def restore(path: Path) -> Model:
    with np.load(path, allow_pickle=False) as stored:
        groups = [
            [stored[f"{name}{i}"] for i in range(len(_WIDTHS) - 1)] for name in ("weights", "first", "second")
        ]
        return Model(int(stored["step"]), *groups)


class Job:
    """One run in `directory`: checkpoints, the acknowledgement, the loss log, and a status for the view."""

    def __init__(self, directory: Path, clock: Clock, checkpoint_every_s: float) -> None:
        self._directory = directory
        self._clock = clock
        self._every_s = checkpoint_every_s
        self.requests = Requests()
        directory.mkdir(parents=True, exist_ok=True)

    def run(self, model: Model) -> None:
        """Train until a stop is asked for."""
        self._write("started.json", {"time": self._clock.time_s(), "step": model.step})
        next_periodic_s = self._clock.time_s() + self._every_s
        with (self._directory / "losses.csv").open("w", buffering=1) as losses:
            while not self.requests.stop:
                began_s = time.monotonic()
                step = model.step
                loss = train_step(model)
                losses.write(f"{step},{loss!r}\n")
                if self.requests.checkpoint:
                    self.requests.checkpoint = False
                    self._checkpoint(model, loss, "foreshock")
                elif self._clock.time_s() >= next_periodic_s:
                    next_periodic_s += self._every_s
                    self._checkpoint(model, loss, "periodic")
                if step % 8 == 0:
                    self._write("status.json", {"step": step, "loss": loss, "time": self._clock.time_s()})
                time.sleep(max(0.0, _STEP_S - (time.monotonic() - began_s)))

    def _checkpoint(self, model: Model, loss: float, reason: str) -> None:
        began_s = time.monotonic()
        path = self._directory / f"checkpoint-{model.step:06d}.npz"
        save(model, path)
        told = Acknowledgement(
            step=model.step, time=self._clock.time_s(), seconds=time.monotonic() - began_s, loss=loss,
            path=str(path), reason=reason,
        )  # fmt: skip
        self._write(f"{NAME}.checkpoint.json", told)
        print(f"checkpoint at step {told.step} ({reason}) in {told.seconds:.3f} s: {path}", flush=True)

    def _write(self, name: str, content: object) -> None:
        aside = self._directory / f".{name}.tmp"
        aside.write_bytes(msgspec.json.encode(content))
        aside.replace(self._directory / name)


def resume_differs_by(checkpoint: Path, losses: Path, steps: int) -> tuple[int, float]:
    """Resume for up to `steps` steps; (steps compared, largest difference to the losses of the first run)."""
    rows = (line.split(",") for line in losses.read_text().split())
    first = {int(step): float(loss) for step, loss in rows}
    model = restore(checkpoint)
    differences = [
        abs(train_step(model) - first[step])
        for step in range(model.step, model.step + steps)
        if step in first
    ]
    return len(differences), max(differences, default=0.0)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m demo.training", description=__doc__.split("\n\n")[0])
    parser.add_argument("--directory", type=Path, required=True, help="checkpoints and status go here")
    parser.add_argument("--config", help="foreshock.toml whose clock the job lives on")
    parser.add_argument("--checkpoint-every-s", type=float, default=1800.0, help="periodic checkpoints")
    parser.add_argument("--resume", type=Path, help="start from this checkpoint")
    args = parser.parse_args(argv)
    clock = load(args.config).make_clock() if args.config else SystemClock()
    job = Job(args.directory, clock, args.checkpoint_every_s)
    signal.signal(signal.SIGUSR1, lambda *_: setattr(job.requests, "checkpoint", True))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(job.requests, "stop", True))
    # The handler stands before the pid is known to anyone: an early signal would kill the job.
    (args.directory / f"{NAME}.pid").write_text(str(os.getpid()))
    job.run(restore(args.resume) if args.resume else new_model())
    return 0


if __name__ == "__main__":
    sys.exit(main())
