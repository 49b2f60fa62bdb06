"""What a batch script starts on every node: `python -m jobs.node SUBMISSION CHUNK TRY`."""

import sys
from pathlib import Path

from jobs.dispatch.submit import on_node

if __name__ == "__main__":
    on_node(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
