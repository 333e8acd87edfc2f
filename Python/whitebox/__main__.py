# Copyright Whitebox's authors. Licence: Apache-2.0.
"""The command line: `python -m whitebox photo.jpg`."""

import os
import sys


def main() -> None:
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "app")
    try:
        os.execv(program, ["app", *sys.argv[1:]])
    except OSError as reason:
        sys.exit(f"whitebox: The program {program} cannot be started: {reason}")


if __name__ == "__main__":
    main()
