"""Job requests become jobs: the one module that talks to submitit.

What submitit pickles is a stateless callable with a path and a number; everything else lies in
the submission's folder.
"""

import os
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import submitit
from submitit.core.submission import process_job
from submitit.helpers import DelayedSubmission

from jobs import files, processes
from jobs.dispatch import ledger, queueing, retry, scheduler
from jobs.dispatch.queueing import Array
from jobs.dispatch.slurm_text import BUSY, judged, translate_refusal
from jobs.errors import AtLimit, Doubtful, EnvironmentFault, Refused
from jobs.layout import RunRoot, SubmissionFiles
from jobs.processes import Process
from jobs.running.task import TaskRun, job_id

SUBMITIT_RESTARTS = 20
"""How often submitit may requeue a task after its wall time; the plan keeps the real budget."""

SBATCH_S = 30.0
"""Seconds after which an sbatch that does not answer is ended."""
SBATCH_POLL_S = 0.25

FOREIGN = r"(SLURM|SBATCH|SRUN)_(?!CONF$)"
"""Variables of a job that this process may run in, and that another job must not inherit."""


class Payload:
    """What runs on a node: one task of one submission."""

    def __call__(self, path: str, index: int) -> None:
        """Run a task to its end."""
        processes.die_with_parent()
        self._run = TaskRun(Path(path), index, dict(os.environ))
        signal.signal(signal.SIGTERM, self._note_end)
        paths, job = self._run.paths, job_id(os.environ)
        submission = ledger.read(RunRoot(paths.folder.parent.parent), paths.number)
        if submission.cluster == "slurm" and (other := queueing.twin(submission, index, job)):
            sys.stderr.write(f"job {other} runs this task; this one, {job}, does nothing\n")
            return
        self._run.run()
        requeued = self._run.again and retry.requeue(os.environ)
        if self._run.stopping and not self._run.tried:
            # an exit code of 0 would say that there was nothing to do
            sys.exit(128 + signal.SIGTERM)
        leads = self._run.node == 0 and submission.cluster == "slurm"
        if leads and not (requeued or self._run.stopping):
            _send_the_rest(paths, index, job)

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


def _send_the_rest(paths: SubmissionFiles, task: int, job: str) -> None:
    """Send what waits and what is due again; what goes wrong with it is no fault of this task."""
    if shutil.which("sbatch") is None:
        return
    from jobs.dispatch import onward  # planning, which a task needs at its end only

    try:
        queueing.go_on(paths, task, job, send_slurm)
        # the user's own files are named from there
        folder = files.read_json(paths.plan).get("folder", "")
        with chdir(folder if os.path.isdir(folder) else "."):  # noqa: PTH112 - "" is no folder
            onward.send_due(paths, time.time())
    except Exception as error:
        words = " · ".join(str(error).splitlines())
        sys.stderr.write(f"what is left of {paths.folder} was not sent: {words}\n")


def send_slurm(paths: SubmissionFiles, array: Array) -> str:
    """Send one array; exactly one sbatch.

    Returns:
        The array's job id.

    Raises:
        Refused: sbatch said no; its own words, then a translation.
        AtLimit: it may say yes later, or to a shorter array.
        Doubtful: it gave no clear answer, so the job may exist.
    """
    folder = _private(paths.array_folder(array.chunk, array.number))
    with _environment(_child_environment(paths), drop=FOREIGN):
        executor = submitit.SlurmExecutor(folder=folder, python=array.python)
        executor.update_parameters(**slurm_names({**array.parameters, "name": array.name}))
        if len(array.tasks) > 1:
            executor.parameters["map_count"] = len(array.tasks)
        submission = shlex.quote(str(paths.folder.resolve()))
        command = f"{executor.python} -u -m jobs.node {submission} {array.chunk} {array.number}"
        script = folder / "submission.sh"
        script.write_text(executor._make_submission_file_text(command, ""))
        return _sbatch(script)


def _sbatch(script: Path) -> str:
    try:
        process = subprocess.Popen(
            ["sbatch", str(script)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=processes.die_with_parent,  # whoever takes this try over must be alone
        )
    except OSError as error:
        raise Refused(f"sbatch: {error.strerror}") from error
    with process:
        try:
            out, said = _heard(process)
        finally:
            if process.poll() is None:
                scheduler.kill(process)
    words = translate_refusal(said)
    judgement = judged(said)
    if process.returncode != 0 and judgement in {"limit", "long"}:
        raise AtLimit(words, long=judgement == "long")
    if process.returncode > 0 and judgement == "final":
        raise Refused(words)
    number = re.search(r"job (\d+)", out)
    if process.returncode != 0 or number is None:
        raise Doubtful(words)
    return number[1]


def _heard(process: subprocess.Popen[bytes]) -> tuple[str, str]:
    """What sbatch printed, until it ended, took too long or waits for others' jobs to end."""
    deadline = time.monotonic() + SBATCH_S
    while True:
        try:
            out, err = process.communicate(timeout=SBATCH_POLL_S)
        except subprocess.TimeoutExpired as error:
            said = (error.stderr or b"").decode(errors="replace")
            # it sleeps a second at least before it asks again, so nothing is on the way
            if BUSY in said:
                return "", said
            if time.monotonic() > deadline:
                return "", f"{said}\nsbatch: error: timed out after {SBATCH_S:g} s"
        else:
            return out.decode(errors="replace"), err.decode(errors="replace")


def on_node(submission: Path, chunk: int, number: int) -> None:
    """Run one task of an array where SLURM started it, as `jobs.node` does.

    Args:
        submission: folder.
        chunk: of the submission.
        number: of the try that sent it.
    """
    paths = SubmissionFiles(submission)
    folder = paths.array_folder(chunk, number)
    os.environ["SUBMITIT_FOLDER"] = str(folder)
    environment = submitit.JobEnvironment()
    pickled = environment.paths.submitted_pickle
    # left by a start that was killed, it would make every later checkpoint fail
    pickled.with_name(f"{pickled.name}.save_tmp").unlink(missing_ok=True)
    if not pickled.exists():
        tasks = files.read_json(paths.intent(chunk, number))["tasks"]
        task = tasks[int(environment.array_task_id or 0)]
        minutes = files.read_json(paths.plan)["chunks"][chunk]["parameters"]["timeout_min"]
        delayed = DelayedSubmission(Payload(), str(submission), task)
        delayed.set_timeout(minutes, SUBMITIT_RESTARTS)
        files.create(pickled, pickle.dumps(delayed))  # every node of a job does this
    process_job(folder)


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
