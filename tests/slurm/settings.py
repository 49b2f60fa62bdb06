"""Settings of the test cluster: options in, the text of its configuration files out. Pure."""

import socket
from dataclasses import dataclass
from pathlib import Path

NAME = "spikegrid"
ACCOUNT = "lab"
"""Whom jobs are charged to, with accounting."""

GRANTS = "create database if not exists slurm_acct_db;" + "".join(
    f"grant all on slurm_acct_db.* to slurm@'{host}' identified by 'slurm';"
    for host in ("localhost", "127.0.0.1")
)
"""What the accounting daemon needs in its database."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a cluster is made of.

    Attributes:
        nodes: virtual machines, all on this host.
        cpus: cores that each claims to have.
        mem_mb: memory that each claims to have.
        gpus: devices that each claims to have; allocating one sets CUDA_VISIBLE_DEVICES.
        accounting: with slurmdbd, so that sacct answers and limits hold.
        max_array_size: the site's limit; as many tasks fit into one array.
        first_job_id: where ids begin, also after a crash of the controller.
        proctrack: "cgroup" reaches every process of a job; "linuxproc" works for any user but
            misses those with a session of their own. Chosen by what works if empty.
        port: first of nodes + 3 neighbouring ports; chosen if 0.
    """

    nodes: int = 3
    cpus: int = 8
    mem_mb: int = 4096
    gpus: int = 2
    accounting: bool = False
    max_array_size: int = 1001
    first_job_id: int = 1
    proctrack: str = ""
    port: int = 0

    @property
    def node_names(self) -> tuple[str, ...]:
        """Names of the nodes; two clusters never share one, since they name cgroups too."""
        return tuple(f"p{self.port}n{i}" for i in range(1, self.nodes + 1))

    @property
    def accounting_port(self) -> int:
        """Where slurmdbd listens."""
        return self.port + 1

    @property
    def database_port(self) -> int:
        """Where mariadbd listens."""
        return self.port + 2


def files(folder: Path, options: Options, *, user: str) -> dict[str, str]:
    """Name and content of every configuration file.

    Args:
        folder: of the cluster.
        options: with port and proctrack chosen.
        user: whom the daemons run as.
    """
    gpus = f"{folder}/dev/nvidia[0-{options.gpus - 1}]" if options.gpus > 1 else "/dev/null"
    nodes = f"p{options.port}n[1-{options.nodes}]"
    found = {
        "slurm.conf": _controller(folder, options, user=user, nodes=nodes),
        "gres.conf": f"NodeName={nodes} Name=gpu File={gpus}\n" if options.gpus else "",
        "cgroup.conf": "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\n"
        "CgroupAutomount=no\nConstrainCores=no\nConstrainRAMSpace=no\nConstrainDevices=no\n",
    }
    if options.accounting:
        found["slurmdbd.conf"] = _accounting(folder, options, user=user)
    return found


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _controller(folder: Path, options: Options, *, user: str, nodes: str) -> str:
    first, last = options.port + 3, options.port + 2 + options.nodes
    gres = f" Gres=gpu:{options.gpus}" if options.gpus else ""
    partition = f"Nodes={nodes} MaxTime=INFINITE State=UP DefMemPerCPU=64"
    return f"""\
ClusterName={NAME}
SlurmctldHost={_host()}(127.0.0.1)
SlurmctldPort={options.port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# a requeued job waits until its credential has expired: 120 s by default
AuthInfo=socket={folder}/munge/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.own
SlurmdPidFile={folder}/run/slurmd-%n.own
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/{options.proctrack}
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
JobAcctGatherType=jobacct_gather/none
{_storage(folder, options)}
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
{"GresTypes=gpu" if options.gpus else ""}
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=100000,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
KillWait=5
MinJobAge=300
MaxArraySize={options.max_array_size}
MaxJobCount=20000
FirstJobId={options.first_job_id}
InactiveLimit=0
SlurmctldTimeout=10
SlurmdTimeout=15
MessageTimeout=10
TCPTimeout=2
UnkillableStepTimeout=20
NodeName={nodes} NodeHostname={_host()} NodeAddr=127.0.0.1 Port=[{first}-{last}] \
CPUs={options.cpus} RealMemory={options.mem_mb}{gres} State=UNKNOWN
PartitionName=main Default=YES PriorityTier=10 {partition}
PartitionName=low PriorityTier=1 PreemptMode=REQUEUE GraceTime=0 {partition}
PartitionName=lowgrace PriorityTier=1 PreemptMode=REQUEUE GraceTime=20 {partition}
PartitionName=lowcancel PriorityTier=1 PreemptMode=CANCEL GraceTime=0 {partition}
PartitionName=high PriorityTier=100 PreemptMode=OFF {partition}
"""


def _storage(folder: Path, options: Options) -> str:
    if not options.accounting:
        return "AccountingStorageType=accounting_storage/none"
    return f"""\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={options.accounting_port}
AccountingStoragePass={folder}/munge/munge.socket
AccountingStorageEnforce=limits,qos"""


def _accounting(folder: Path, options: Options, *, user: str) -> str:
    return f"""\
DbdHost={_host()}
DbdAddr=127.0.0.1
DbdPort={options.accounting_port}
SlurmUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/munge.socket
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={options.database_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/run/slurmdbd.own
"""
