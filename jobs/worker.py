"""What torchrun starts: `torchrun --module jobs.worker SUBMISSION TASK`.

Before torch is imported, which takes seconds, the rank is tied to its agent and can be told to
stop; else a kill or a signal in those seconds would leave an orphan or look like a failure.
"""

import os
import sys

from jobs import processes

INIT = 1


def main(folder: str, index: str) -> int:
    """Run one rank of one task; its exit code, which nothing relies on."""
    if os.getppid() == INIT:  # the agent died before this process got so far
        return 1
    processes.die_with_parent()
    stop = processes.StopFlag()
    from jobs.running import rank  # imports torch

    return rank.work(folder, index, stop)


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads of torch and gloo can abort an interpreter that is taken down
