"""`python -m ganzoo` and `ganzoo`: one program."""

from ganzoo.cli import main

if __name__ == "__main__":
    main()
