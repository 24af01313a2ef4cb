"""The kinds of data that ganzoo knows: images, points, texts, labels. Published as a plugin's are, so a plugin can bring another."""

from __future__ import annotations

from ganzoo.hookspecs import hookimpl
from ganzoo.types import API_VERSION, MediumPart

GANZOO_API = API_VERSION


@hookimpl
def ganzoo_register() -> list[MediumPart]:
    return [
        MediumPart("image", "ganzoo.media.image:Image", "pictures of one size, grey or in colour", dataset="fashion-10k"),
        MediumPart("points", "ganzoo.media.points:Points", "vectors of numbers", dataset="ring"),
        MediumPart("tokens", "ganzoo.media.tokens:Tokens", "texts, as numbers of the words of a vocabulary", dataset="seqgan-oracle"),
        MediumPart("label", "ganzoo.media.label:Label", "classes"),
    ]
