"""Gary, who writes spam, against David, who filters it: SeqGAN's game (Yu et al. 2017, arXiv:1609.05473) over real mails."""

from __future__ import annotations

import torch
from torch import Tensor

from ganzoo import Batch, Export, Field
from ganzoo_seqgan import SpamOptions
from ganzoo_seqgan.strategy import PolicyGradient


class SpamGame(PolicyGradient):
    """x is ham, x_s spam. Gary, G, first learns to write as the spam does; David, D, to tell ham from it; then they play.

    While they play, David sees as many real spams as mails of Gary's, `keep_spam`, so that he does not forget them.
    """

    options: SpamOptions
    learns = "x_s"

    def exports(self) -> dict[str, Export]:
        """Gary's mails; and David's verdict on somebody's mails: the data's own two kinds, if it tells two."""
        kinds: str | Field = "y_l" if self.spec.fields["y_l"].size == 2 else Field("label", size=2, names=("spam", "ham"))
        return {"gary": Export("G", ("z",), "x"), "david": Export("D", {"x": "x_l"}, kinds)}

    def fakes(self, batch: Batch, t: int) -> Tensor:
        if self.phase(t) == "judge":
            return batch["x_s"]
        written = super().fakes(batch, t)
        return torch.cat([written, batch["x_s"]]) if self.options.keep_spam else written
