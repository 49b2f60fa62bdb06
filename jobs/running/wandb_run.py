"""The process that writes an offline run of Weights & Biases: `python -m jobs.running.wandb_run`.

It reads JSON lines (`jobs.running.sinks.Wandb`): what the run is, the numbers of each epoch, how it
ended. It never uses the network, writes below the run root alone, and dies with its rank; the
service that wandb starts looks after this process and ends with it.
"""

import json
import os
import signal
import sys
from typing import Any

from jobs import processes
from jobs.worker import INIT

PROJECT = "spikegrid"


def main() -> int:
    """Write one run; 0 if all of it was taken."""
    if os.getppid() == INIT:  # the rank died before this process got so far
        return 1
    processes.die_with_parent()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # the rank closes the pipe when it has to end
    about = json.loads(sys.stdin.readline())
    _settle(about["folder"])
    run = _started(about)
    end = "failed"  # a pipe that closes without a word
    for text in sys.stdin:
        line = json.loads(text)
        if "end" in line:
            end = line["end"]
        else:
            run.log(line["scalars"], step=line["epoch"])
    run.summary["end"] = end
    run.finish(exit_code=0 if end == "completed" else 1)
    return 0


def _settle(folder: str) -> None:
    """Leave nothing to the user's own settings: no network, no files elsewhere."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        del os.environ[name]
    os.environ |= {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"}
    for name in ("CACHE", "CONFIG", "DATA"):
        os.environ[f"WANDB_{name}_DIR"] = f"{folder}/{name.lower()}"


def _started(about: dict[str, Any]) -> Any:
    import wandb

    settings = wandb.Settings(
        mode="offline",
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
    return wandb.init(
        dir=about["root"],
        project=PROJECT,
        id=about["id"],
        name=about["name"],
        group=about["group"],
        config=about["config"],
        settings=settings,
    )


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # what wandb does at exit may wait
