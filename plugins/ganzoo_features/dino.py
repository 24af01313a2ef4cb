"""DINOv2 (Oquab et al. 2023, arXiv:2304.07193)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

import ganzoo
from ganzoo import DataSpec, ExtractorContext, GanzooError, UsageError
from ganzoo_features import DinoOptions
from ganzoo_features.model import hash_of, local_seed


class DinoV2(ganzoo.FeatureExtractor):
    """The class token (N, 384) of ViT-S/14. Raises UsageError without timm, GanzooError if the weights are missing or damaged."""

    options: DinoOptions
    net: Any
    MODEL = "vit_small_patch14_dinov2"
    FILE = "vit_small_patch14_dinov2.lvd142m.safetensors"
    SOURCE = "https://huggingface.co/timm/vit_small_patch14_dinov2.lvd142m (model.safetensors)"
    SIZE = 224
    MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # per channel, of ImageNet's pixels

    def __init__(self, spec: DataSpec, options: DinoOptions, context: ExtractorContext) -> None:
        super().__init__(spec, options, context)
        try:
            import timm
            from timm.layers.pos_embed import resample_abs_pos_embed
        except ImportError as error:
            raise UsageError("--features dinov2 needs timm, which is not here: pip install 'pyganzoo[dinov2]'.") from error
        path = self._weights_file()
        with local_seed(0):
            self.net = timm.create_model(self.MODEL, pretrained=False, img_size=self.SIZE, num_classes=0)
        try:
            state = {name: tensor.float() for name, tensor in load_file(path).items()}
            if state["pos_embed"].shape != self.net.pos_embed.shape:  # the published weights are for 518 pixels
                state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], list(self.net.patch_embed.grid_size), verbose=False)
            self.net.load_state_dict(state)
        except (SafetensorError, OSError, KeyError, RuntimeError, AssertionError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[-1].strip()
            raise GanzooError(f"{path} does not hold the weights of {self.MODEL} ({reason}). Get it again from {self.SOURCE}.") from error
        self.weights_hash = hash_of(state)
        self.figure_names = {"fid": "FD-DINOv2 (ViT-S)"}
        self.requires_grad_(False).eval()

    def _weights_file(self) -> Path:
        """The file that --dinov2.weights names, or else the first one in the data folder and the cache."""
        if name := self.options.weights:
            if not Path(name).expanduser().is_file():
                raise UsageError(f"--dinov2.weights {name}: there is no such file.")
            return Path(name).expanduser()
        data_dir = self.context.data_dir
        folders = [data_dir, data_dir / "dinov2", self.context.cache]
        for folder in folders:
            if (folder / self.FILE).is_file():
                return folder / self.FILE
        raise GanzooError(
            f"{self.FILE}, the weights of DINOv2, is needed and is in none of {', '.join(map(str, folders))}. Get {self.SOURCE} and put "
            f"it in one of them under that name, or name the file with --dinov2.weights."
        )

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        with ganzoo.full_precision(x):
            x = F.interpolate(x.float(), (self.SIZE, self.SIZE), mode="bicubic", antialias=True).round_().clamp_(0, 255)
            mean, deviation = (x.new_tensor(values).view(1, 3, 1, 1) for values in (self.MEAN, self.DEVIATION))
            return self.net((x / 255 - mean) / deviation), None  # grey images become three equal colours here

    def protocol(self) -> dict[str, Any]:
        return {"resize": f"bicubic, antialiased, to {self.SIZE}"}
