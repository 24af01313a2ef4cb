"""The projects that `ganzoo new` writes."""
