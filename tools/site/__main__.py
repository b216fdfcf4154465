"""`python -m tools.site FOLDER`: writes the folder that the gateway serves, as an image of the gateway needs it."""

import argparse
from pathlib import Path

from tools.site import write


def main() -> None:
    """Writes the folder that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tools.site", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write it; it is made if it is not there")
    write(parser.parse_args().folder)


if __name__ == "__main__":
    main()
