"""Job requests become jobs: the one module that talks to submitit.

What submitit pickles is a stateless callable with a path and a number; everything else lies in
the submission's folder.
"""

import contextlib
import io
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.helpers import DelayedSubmission

from jobs import files, processes
from jobs.errors import EnvironmentFault, Refused
from jobs.layout import SubmissionFiles
from jobs.processes import Process
from jobs.request import JobRequest
from jobs.slurm_text import translate_refusal
from jobs.task import TaskRun

SUBMITIT_RESTARTS = 20
"""How often submitit may requeue a task after its wall time; the plan keeps the real budget."""

_DOUBTFUL = re.compile(r"timed out|timeout|zero bytes|communication", re.IGNORECASE)
"""Words of sbatch after which the controller may have taken the job all the same."""


FOREIGN = r"(SLURM|SBATCH|SRUN)_(?!CONF$)"
"""Variables of a job that this process may run in, and that another job must not inherit."""


class Payload:
    """What runs on a node: one task of one submission."""

    def __call__(self, path: str, index: int) -> None:
        """Run a task to its end."""
        processes.die_with_parent()
        self._run = TaskRun(Path(path), index, dict(os.environ))
        signal.signal(signal.SIGTERM, self._note_end)
        self._run.run()

    def checkpoint(self, path: str, index: int) -> DelayedSubmission:
        """Called by submitit on preemption or near the time limit: save, end, run again."""
        self._run.stop()
        return DelayedSubmission(Payload(), path, index)

    def _note_end(self, signum: int, frame: object) -> None:
        """SLURM sends TERM to every process of a job; the ranks act on it, the task waits."""
        del signum, frame
        self._run.stopping = True

    def __getstate__(self) -> dict[str, Any]:
        return {}


def send_slurm(paths: SubmissionFiles, request: JobRequest, python: str | None = None) -> str:
    """Send one array; exactly one sbatch.

    Returns:
        The array's job id.

    Raises:
        Refused: sbatch said no; its own words, then a translation.
        EnvironmentFault: it gave no answer, so the job may exist; it is looked up by its name.
    """
    folder = _private(paths.submitit / f"chunk-{request.chunk:03d}")
    with _environment(_child_environment(paths), drop=FOREIGN):
        executor = submitit.SlurmExecutor(
            folder=folder, max_num_timeout=SUBMITIT_RESTARTS, python=python
        )
        executor.update_parameters(**slurm_names({**request.parameters, "name": request.name}))
        path, count = str(paths.folder.resolve()), len(request.tasks)
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # the error holds sbatch's words too
                jobs = executor.map_array(Payload(), [path] * count, request.tasks)
        except (FailedSubmissionError, FailedJobError, OSError) as error:
            kind = EnvironmentFault if _DOUBTFUL.search(str(error)) else Refused
            raise kind(translate_refusal(str(error))) from error
    return str(jobs[0].job_id).partition("_")[0]


def slurm_names(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Executor parameters under the names that SlurmExecutor itself uses."""
    names = submitit.SlurmExecutor._equivalence_dict()
    found: dict[str, Any] = {str(names.get(key, key)): value for key, value in parameters.items()}
    if "mem" in found:
        found["mem"] = f"{round(found['mem'] * 1024)}M"
    return found


def start_local(paths: SubmissionFiles, index: int, *, timeout_min: int, devices: str) -> Process:
    """Start one task on this machine, detached from the caller's life.

    Args:
        paths: its submission.
        index: its line.
        timeout_min: wall time.
        devices: value of CUDA_VISIBLE_DEVICES, verbatim; may be empty.
    """
    folder = _private(paths.submitit / f"task-{index}")
    extra = {**_child_environment(paths), "SPIKEGRID_DEVICES": devices}
    with _environment(extra, drop=FOREIGN):
        executor = submitit.LocalExecutor(folder=folder, max_num_timeout=SUBMITIT_RESTARTS)
        executor.update_parameters(timeout_min=timeout_min, stderr_to_stdout=True)
        job = executor.submit(Payload(), str(paths.folder.resolve()), index)
    started = processes.identify(int(job.job_id))
    # a controller that ended at once still had this pid
    return started or Process(processes.host(), int(job.job_id), 0, processes.boot())


def run_here(paths: SubmissionFiles, index: int, echo: Callable[[str], None]) -> bool:
    """Run one task in the foreground of this process.

    Args:
        paths: its submission.
        index: its line.
        echo: is given what the ranks log.

    Returns:
        Whether Ctrl-C stopped it; the ranks saved first.
    """
    env = {k: v for k, v in os.environ.items() if not re.match(FOREIGN, k)}
    run = TaskRun(paths.folder.resolve(), index, {**env, **_child_environment(paths)}, echo)
    before = signal.signal(signal.SIGINT, lambda *_: run.stop())
    try:
        run.run()
    finally:
        signal.signal(signal.SIGINT, before)
    return run.stopping


def _child_environment(paths: SubmissionFiles) -> dict[str, str]:
    """The task itself runs from the snapshot too, whatever happens to the checkout."""
    code = paths.folder.parent.parent.resolve() / "code" / files.read_json(paths.plan)["code"]
    return {"PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}


def _private(folder: Path) -> Path:
    """A folder of pickles must not be writable by others: loading one runs code."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o022 or folder.stat().st_uid != os.getuid():
        raise EnvironmentFault(f"{folder}: others can write here; chmod 700 it, then submit again")
    return folder


@contextmanager
def _environment(extra: Mapping[str, str], drop: str) -> Iterator[None]:
    """The process environment with some variables added and others left out."""
    before = dict(os.environ)
    for name in [name for name in before if re.match(drop, name)]:
        del os.environ[name]
    os.environ.update(extra)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
