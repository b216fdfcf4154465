"""Builds the console into build/console: `python -m console`. With `--check`, checks the types of its sources."""

import argparse
import sys

from console.build import BuildError, build, check


def main() -> int:
    """Returns the exit code: 1 after printing an error."""
    parser = argparse.ArgumentParser(prog="python -m console", description=__doc__)
    parser.add_argument("--check", action="store_true", help="check the types, and build nothing")
    try:
        (check if parser.parse_args().check else build)()
    except BuildError as error:
        print(f"{error}\nThe console could not be built.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
