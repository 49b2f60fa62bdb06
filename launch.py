"""The door: `python launch.py COMMAND`, from any directory."""

import gc
import sys
from importlib.util import find_spec
from pathlib import Path

checkout = Path(__file__).resolve().parent
if any(find_spec(name) is None for name in ("pydantic", "yaml", "torch", "submitit")):
    sys.stderr.write(
        f"{sys.executable} lacks spikegrid's dependencies: run `make install` in {checkout}, "
        f"then {checkout}/.venv/bin/python {checkout}/launch.py\n"
    )
    sys.exit(3)
if str(checkout) not in sys.path:
    sys.path.insert(0, str(checkout))

from jobs.cli import main

if __name__ == "__main__":
    gc.set_threshold(1_000_000)  # ten thousand cells are no garbage; a long wait still collects
    code = main()
    gc.freeze()  # or Python would look for garbage among them once more before it ends
    sys.exit(code)
