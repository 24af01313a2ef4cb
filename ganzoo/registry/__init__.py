"""What is installed: plugins found, their records checked, everything by name."""
