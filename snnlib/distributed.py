"""Processes that work on one network together, as torchrun starts them."""

import contextlib
import datetime
import os
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed import HashStore, PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

Object = TypeVar("Object")


@dataclass(frozen=True, kw_only=True)
class World:
    """The processes of one training.

    Attributes:
        rank: number of this one, from 0.
        size: how many there are.
        local_rank: number of this one on its machine.
        device: where its tensors lie.
        store: keys and values that all of them see; asking it waits for nobody.
    """

    rank: int
    size: int
    local_rank: int
    device: torch.device
    store: Store = field(default_factory=HashStore, compare=False, repr=False)

    @classmethod
    def single(cls, device: torch.device | str = "cpu") -> "World":
        """One process alone, without a process group."""
        return cls(rank=0, size=1, local_rank=0, device=torch.device(device))


def init(timeout_s: float = 120) -> World:
    """Join the processes that torchrun started; alone if it started none.

    Args:
        timeout_s: seconds after which a collective gives up, so that a dead peer ends the job.
    """
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local_rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World.single(device)
    timeout = datetime.timedelta(seconds=timeout_s)
    store, rank, size = next(rendezvous("env://", timeout=timeout))
    distributed.init_process_group(
        "nccl" if cuda else "gloo",
        store=PrefixStore("collectives", store),
        rank=rank,
        world_size=size,
        timeout=timeout,
    )
    own = PrefixStore("spikegrid", store)
    return World(rank=rank, size=size, local_rank=local_rank, device=device, store=own)


def shutdown() -> None:
    """Leave the process group, if there is one, together with all others.

    A process that goes while others still work can abort in the threads of gloo, and torchrun then
    ends the others too. For the same reason processes end by `os._exit` afterwards.
    """
    if distributed.is_initialized():
        with contextlib.suppress(RuntimeError):  # another process has failed, and says so itself
            distributed.barrier()
        distributed.destroy_process_group()


def total(world: World, values: Tensor) -> Tensor:
    """Sum of a tensor over all processes, known to each; computed in float64."""
    values = values.to(device=world.device, dtype=torch.float64)
    if world.size > 1:
        distributed.all_reduce(values)
    return values


def exact_total(world: World, values: Tensor) -> Tensor:
    """Sum of whole numbers over all processes, known to each; int64."""
    assert values.dtype == torch.int64, f"whole numbers are needed, not {values.dtype}"
    values = values.to(world.device, copy=True)
    if world.size > 1:
        distributed.all_reduce(values)
    return values


def broadcast(world: World, values: Tensor) -> None:
    """Exchange a tensor's values for those of rank 0."""
    if world.size > 1:
        distributed.broadcast(values, src=0)


def any_of(world: World, *flags: bool) -> tuple[bool, ...]:
    """Which flags are up on any process; one collective for all of them."""
    if world.size == 1:
        return flags
    return tuple(total(world, torch.tensor(flags)).bool().tolist())


def gather_objects(world: World, item: Object) -> list[Object]:
    """One object of each process, by rank; known to each."""
    if world.size == 1:
        return [item]
    found = [item] * world.size
    distributed.all_gather_object(found, item)
    return found


def broadcast_object(world: World, item: Object) -> Object:
    """The object of rank 0."""
    if world.size == 1:
        return item
    box: list[Object] = [item]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def barrier(world: World) -> None:
    """Wait until every process is here."""
    if world.size > 1:
        distributed.barrier()
