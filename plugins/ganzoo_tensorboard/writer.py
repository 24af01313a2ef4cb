"""A run as TensorBoard's event files: scalars, sample grids, hyper-parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from ganzoo import RunInfo


class Writer:
    """Writes RUN/tensorboard: loss terms and images per second as scalars, the sample sheets, and at the end the hyper-parameters."""

    def __init__(self, run: RunInfo) -> None:
        self.run = run
        self.last: dict[str, float] = {}
        # A resumed run continues after run.step. Later steps that a killed process has already written are hidden.
        self.writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=run.step + 1 if run.step else None)

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        self.last = dict(values)
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def evaluated(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self.writer.add_scalar(f"evaluation/{name}", value, step)

    def sampled(self, step: int, path: Path) -> None:
        """Writes the sample sheet, a PNG file."""
        with Image.open(path) as sheet:
            self.writer.add_image("samples", np.asarray(sheet.convert("RGB")), step, dataformats="HWC")

    def close(self, step: int) -> None:
        """Writes the hyper-parameters with the last logged values, so that TensorBoard's table can sort runs by them."""
        config = self.run.config
        hparams: dict[str, Any] = {"recipe": config["recipe"], **config["parts"]}
        hparams |= {f"{kind}.{name}": value for kind, values in config["options"].items() for name, value in values.items()}
        hparams |= {name: value for name, value in config["run"].items() if name not in ("data_dir", "track")}
        scalars = {name: value for name, value in hparams.items() if isinstance(value, bool | int | float | str)}
        self.writer.add_hparams(scalars, {f"last/{name}": value for name, value in self.last.items()}, run_name=".", global_step=step)
        self.writer.close()
