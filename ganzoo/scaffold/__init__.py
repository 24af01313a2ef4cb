"""What `ganzoo new` writes."""
