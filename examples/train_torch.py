"""The same loop as train_numpy.py with PyTorch: one process, or several under torchrun (gloo or nccl).

    FORESHOCK_CHECKPOINT_DIR=/run/foreshock torchrun --nproc-per-node 2 examples/train_torch.py --folder /tmp/run

A signal reaches the ranks at different steps and may miss some, so they agree at each step (one all-reduce of one
number; every tenth step is enough where steps are short). Rank 0 saves; all wait for it before it is acknowledged.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from collector.trainer import Checkpoints, Wanted

try:
    import torch
    import torch.distributed as dist
except ImportError:
    sys.exit(
        "train_torch.py needs PyTorch, which is not installed (try: pip install torch, or train_numpy.py)"
    )

_ORDER: tuple[Wanted | None, ...] = (None, "checkpoint", "exit")
_FEATURES = 64


def main(argv: list[str] | None = None) -> int:
    """Train until `--steps`, or until any rank is asked to leave."""
    args = _arguments(argv)
    device = _join()
    asks = Checkpoints("train-torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(_FEATURES, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1)).to(
        device
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    file = args.folder / "model.pt"
    step = load(file, model, optimizer, device)
    print(f"step {step}: {'begun' if step == 0 else 'resumed'}, pid {os.getpid()}", flush=True)
    while step < args.steps:
        train(model, optimizer, step, device)
        step += 1
        if args.step_s > 0:
            time.sleep(args.step_s)
        wanted = agreed(asks.wanted(), device)
        if wanted or step % args.every == 0 or step == args.steps:
            with asks.acknowledged(step):
                save(file, model, optimizer, step)
        if wanted == "exit":
            break
    if dist.is_initialized():
        dist.destroy_process_group()
    return 0


def agreed(wanted: Wanted | None, device: Any) -> Wanted | None:
    """The most that any rank was asked for, the same on all ranks."""
    if not dist.is_initialized():
        return wanted
    number = torch.tensor([_ORDER.index(wanted)], device=device)
    dist.all_reduce(number, op=dist.ReduceOp.MAX)
    return _ORDER[int(number.item())]


def train(model: Any, optimizer: Any, step: int, device: Any) -> None:
    """One step on synthetic data; the gradients of the ranks are averaged."""
    rank = dist.get_rank() if dist.is_initialized() else 0
    generator = torch.Generator().manual_seed(step * 100_003 + rank)
    x = torch.randn(256, _FEATURES, generator=generator)
    y = (x.sum(dim=1, keepdim=True) > 0).float().to(device)
    optimizer.zero_grad()
    torch.nn.functional.binary_cross_entropy_with_logits(model(x.to(device)), y).backward()
    if dist.is_initialized():
        for parameter in model.parameters():
            dist.all_reduce(parameter.grad)
            parameter.grad /= dist.get_world_size()
    optimizer.step()


def save(file: Path, model: Any, optimizer: Any, step: int) -> None:
    """Rank 0 writes, by rename; the others wait until it is on disk."""
    if not dist.is_initialized() or dist.get_rank() == 0:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        with part.open("wb") as f:
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, f)
            f.flush()
            os.fsync(f.fileno())
        part.replace(file)
    if dist.is_initialized():
        dist.barrier()


def load(file: Path, model: Any, optimizer: Any, device: Any) -> int:
    """The number of steps that the checkpoint has seen; 0 where there is none."""
    if not file.exists():
        return 0
    saved = torch.load(file, map_location=device, weights_only=True)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["step"])


def _join() -> Any:
    """Join the other ranks if torchrun started us. -> this rank's device."""
    has_gpu = torch.cuda.is_available()
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("nccl" if has_gpu else "gloo")
    device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if has_gpu else "cpu")
    if has_gpu:
        torch.cuda.set_device(device)
    return device


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("train-torch-run"), help="where checkpoints are kept"
    )
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=1_000, help="steps between two planned checkpoints")
    parser.add_argument(
        "--step-s", type=float, default=0.0, help="make each step last so many seconds longer"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
