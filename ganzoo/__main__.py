"""`python -m ganzoo` and `ganzoo`: one program."""

import os
import sys

if __name__ == "__main__" and sys.path[:1] == [os.getcwd()]:
    # `python -m` puts the working directory first, and what lies there would pass for installed: ganzoo loads nothing from it.
    del sys.path[0]

from ganzoo.cli import main

if __name__ == "__main__":
    main()
