"""grad-obf-snn as it was published: `PYTHON -m tests.bench.gradobf_original CHECKOUT BATCH STEPS`.

Run by an interpreter of the original's own, SpikingJelly 0.0.0.0.14. Network, encoder and attacks
are the checkout's, as they are; the two works below are `train_step` and `adv_test_step` of its
train.py for one batch, without progress bar and log (that file needs Python 3.12 and reads the
command line when imported).
"""

import importlib
import sys
from typing import Any

import torch
from torch import nn

from tests.bench.alternate import serve

SEED = 3407  # the original's own
_declared: list[torch.library.Library] = []


def images(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """8-bit noise [N, 3, 32, 32] as float32 in 0..255, and labels in 0..9."""
    generator = torch.Generator().manual_seed(1)
    pixels_NCHW = torch.randint(256, (count, 3, 32, 32), generator=generator)
    return pixels_NCHW.float(), torch.randint(10, (count,), generator=generator)


class Original:
    """Network, encoder and optimiser as its train.py sets them up for sew18, max pool, phase."""

    def __init__(self, checkout: str, batch: int, steps: int) -> None:
        sys.path.insert(0, checkout)
        sys.dont_write_bytecode = True  # the checkout stays as it is
        declare_missing_operators()
        attacks, encoder, model = (
            importlib.import_module(f"source.{name}") for name in ("attacks", "encoder", "model")
        )
        functional = importlib.import_module("spikingjelly.activation_based.functional")
        self.attacks, self.reset_net = (
            (attacks.fgsm_attack, attacks.pgd_attack),
            functional.reset_net,
        )
        torch.manual_seed(SEED)
        self.model = model.GeneralUndefendedSNNModel(10, "sew", "max", 18)
        self.encoder = encoder.Encoder("phase")
        self.loss = nn.CrossEntropyLoss()
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-3, weight_decay=0.001)
        pixels_NCHW, labels_N = images(batch * steps)
        split = torch.utils.data.TensorDataset(pixels_NCHW, labels_N)
        self.batches = list(torch.utils.data.DataLoader(split, batch_size=batch))
        self.step = 0

    def train(self) -> float:
        """One training step; its loss."""
        x, y = self.batches[self.step]
        self.step += 1
        self.model.train()
        loss = self.loss(self.model(self.encoder(x)), y)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.reset_net(self.model.snn)
        self.encoder.reset()
        return float(loss.item())

    def attack(self) -> None:
        """FGSM and PGD7 at 6/255 on an encoded batch, and the decisions on what they made."""
        x, y = self.batches[0]
        z = self.encoder(x)
        self.encoder.reset()
        self.model.train()
        attacked = [attack(self.loss, self.model, z, y, device="cpu") for attack in self.attacks]
        self.model.eval()
        with torch.no_grad():
            for z in attacked:
                (self.model(z).argmax(-1) == y).sum().item()
                self.reset_net(self.model.snn)


def declare_missing_operators() -> None:
    """Let torchvision built for CUDA be imported beside a torch built for CPUs."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        _declared.append(library)  # the declarations end with the object
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def main() -> None:
    """Serve the works."""
    checkout, batch, steps = sys.argv[1:]
    original = Original(checkout, int(batch), int(steps))

    def attack() -> None:
        original.attack()

    serve({"train": original.train, "attack": attack})


if __name__ == "__main__":
    main()
