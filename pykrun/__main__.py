"""`python -m pykrun`: which libkrun is found, and what it exports, as one line of JSON. Exit code 1: none is."""

from __future__ import annotations

import json
import sys

from pykrun import recipes
from pykrun.errors import LibraryNotFound
from pykrun.lib import Library


def main() -> int:
    try:
        library = Library.find()
    except LibraryNotFound as error:
        print(error, file=sys.stderr)
        return 1
    functions = sorted(library.functions)
    print(json.dumps({"path": library.path, "family": recipes.family(functions).name, "functions": functions}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
