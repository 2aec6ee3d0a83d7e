"""Small models and data for the tests, made by the Python of the build: `python iris.py DIRECTORY`.

A classifier of three Gaussian clouds, trained for a second from a seed.
"""

import sys
from pathlib import Path
from typing import Any

NETS = '''\
import torch


class Iris(torch.nn.Module):
    """Two inputs, so that their order and names matter; batch is open."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.first = torch.nn.Linear(4, hidden)
        self.second = torch.nn.Linear(hidden, 3)

    def forward(self, petals, sepals):
        return self.second(torch.relu(self.first(torch.cat([petals, sepals], dim=1))))


class Restless(Iris):
    """Answers differently each time: nothing converted from it can agree."""

    def forward(self, petals, sepals):
        return torch.nn.functional.dropout(super().forward(petals, sepals), 0.5, training=True)


class Digits(torch.nn.Module):
    """A convolution, an integer input that is looked up, and two outputs of different shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(1, 4, 3)
        self.table = torch.nn.Embedding(10, 4)

    def forward(self, image, style):
        seen = torch.relu(self.convolution(image)).mean(dim=(2, 3))
        return {"seen": seen, "score": (seen * self.table(style)).sum(dim=1)}
'''


def make(directory: Path) -> None:
    """Write `training/`, `checkpoints/` and `samples/`."""
    for name in ("training", "checkpoints", "samples"):
        (directory / name).mkdir(parents=True)
    (directory / "training" / "nets.py").write_text(NETS)
    sys.path.insert(0, str(directory / "training"))
    import nets  # type: ignore[import-not-found]
    import numpy as np
    import torch  # type: ignore[import-not-found,unused-ignore]
    from safetensors.torch import save_file  # type: ignore[import-not-found,unused-ignore]

    generator = np.random.Generator(np.random.PCG64(1))
    centres = generator.normal(size=(3, 4)) * 2

    def cloud(rows: int) -> tuple[dict[str, Any], Any]:
        labels = generator.integers(0, 3, rows)
        points = (centres[labels] + generator.normal(size=(rows, 4))).astype("float32")
        return {"petals": points[:, :2], "sepals": points[:, 2:]}, labels

    torch.manual_seed(0)
    model = nets.Iris()
    inputs, labels = cloud(600)
    tensors, target = [torch.from_numpy(array) for array in inputs.values()], torch.from_numpy(labels)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(120):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(*tensors), target).backward()
        optimizer.step()
    model.eval()
    held_out, answers = cloud(500)
    checkpoints = directory / "checkpoints"
    torch.save(model.state_dict(), checkpoints / "iris.pt")
    torch.save({"epoch": 3, "model_state_dict": model.state_dict()}, checkpoints / "loop.pt")
    torch.save(model, checkpoints / "whole.pt")
    save_file(model.state_dict(), checkpoints / "iris.safetensors")
    torch.save(nets.Digits().state_dict(), checkpoints / "digits.pt")
    np.savez(directory / "samples" / "iris.npz", **held_out, labels=answers)
    np.savez(directory / "samples" / "typical.npz", **inputs)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
