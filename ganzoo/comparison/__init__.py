"""Several GANs under one budget, by one protocol."""
