"""Writes the gateway's static site to a folder, for the gateway's image: `python -m envoy.site FOLDER`."""

import argparse
from pathlib import Path

from envoy.site.files import write_site


def main() -> None:
    """Writes the site to the folder given on the command line."""
    parser = argparse.ArgumentParser(prog="python -m envoy.site", description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder to write to; created if it does not exist")
    write_site(parser.parse_args().folder)


if __name__ == "__main__":
    main()
