"""Networks that start from other networks.

`start: {parent: {...}}` means this cell with the given keys replaced and the same seed. A network
without its seed is resolved once, however many seeds it is trained with.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from jobs.expand import fit
from jobs.expand.checks import check_network, check_selection
from jobs.expand.grid import Draft, Expansion, several
from jobs.expand.messages import Findings, shown, unknown_key
from jobs.expand.parts import NETWORK, Part, as_mapping, merge, nest
from jobs.expand.yaml_text import Mark, Node
from jobs.identity import canonical, short_hash
from snnlib.spec.data import Dataset
from snnlib.spec.model import Model
from snnlib.spec.neuron import NDS
from snnlib.spec.stage import NDSStage, Stage
from snnlib.spec.training import Regime
from snnlib.spec.values import Checkpoint

MAX_GENERATIONS = 64

_Path = tuple[str, ...]
_START: _Path = ("regime", "start")
_NDS: _Path = ("model", "neuron", "nds")
_WITH_SEED = (*NETWORK, "seed")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Network:
    """What determines a trained network, but for its seed.

    Attributes:
        parts: dataset, model and regime.
        parent: the network it starts from.
        file: the file it starts from.
        nds: the signature of its TA-LIF neurons.
        source: the network that the signature is collected from.
        digest: 8 hex characters of its content.
    """

    parts: tuple[Part, ...]
    parent: "Network | None"
    file: Checkpoint | None
    nds: NDS | None
    source: "Network | None"
    digest: str

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What it needs of `source` besides its being trained."""
        if self.nds is None or self.source is None:
            return ()
        return (NDSStage(quantity=self.nds.quantity),)

    @property
    def dataset(self) -> Dataset:
        """What it learns."""
        return self.parts[0].value  # type: ignore[no-any-return]

    @property
    def model(self) -> Model:
        """What learns it."""
        return self.parts[1].value  # type: ignore[no-any-return]

    @property
    def regime(self) -> Regime:
        """How it learns; `start` is unset."""
        return self.parts[2].value  # type: ignore[no-any-return]

    def leaves(self) -> dict[str, str]:
        """Where it starts and what steers it, in words for labels."""
        found = {} if self.nds is None else {"nds": self._signature()}
        if self.parent is not None:
            return found | {"start": self.parent.regime.name, "start.parent": self.parent.digest}
        return found | {"start": "none" if self.file is None else self.file.sha256[:8]}

    def _signature(self) -> str:
        assert self.nds is not None
        if self.source is not None:
            return f"{self.source.model.neuron.name}-{self.source.regime.name}-{self.nds.quantity}"
        constant, file = self.nds.constant, self.nds.checkpoint
        return str(constant) if file is None else file.sha256[:8]


class Source(NamedTuple):
    """What a transfer attack climbs on.

    Attributes:
        network: its network; with a file, the cell's own.
        seed: of its training, if it is not the cell's.
        file: its weights, if they are an own file.
        mark: where that is written.
    """

    network: Network
    seed: Part | None
    file: Checkpoint | None
    mark: Mark


class _Step(NamedTuple):
    """One generation on the way to the first parent."""

    key: tuple[int, ...]
    name: str


class Family:
    """All networks of a manifest and how they descend from each other.

    Args:
        expansion: the cells; all their parts are valid.
        findings: takes problems.
    """

    def __init__(self, expansion: Expansion, findings: Findings) -> None:
        self.expansion, self.findings = expansion, findings
        self._by_parts: dict[tuple[Part, ...], Network | None] = {}
        self._by_content: dict[object, Network] = {}
        self._circular: set[tuple[int, ...]] = set()
        self._sources: dict[object, Source | None] = {}
        self._finals = {draft.part("regime"): None for draft in expansion.drafts}

    def network(self, draft: Draft) -> Network | None:
        """The network of a cell; None after a problem."""
        parts = draft.parts[: len(NETWORK)]
        if parts not in self._by_parts:
            return self._resolve(parts, draft.origin, ())
        return self._by_parts[parts]

    def source(self, draft: Draft, place: int) -> "Source | None":
        """What a transfer attack of a cell climbs on; None after a problem.

        Args:
            draft: the cell.
            place: of the attack in its list.
        """
        parts, attacks = draft.parts[: len(NETWORK)], draft.part("attacks")
        key = (parts, attacks, place)
        if key not in self._sources:
            self._sources[key] = self._found(parts, attacks, place, draft.origin)
        return self._sources[key]

    def _found(
        self, parts: tuple[Part, ...], attacks: Part, place: int, origin: Mark
    ) -> "Source | None":
        given = attacks.value[place].source
        mark = attacks.item_mark(place, "source", origin)
        if (given.parent is None) == (given.checkpoint is None):
            self.findings.add(mark, "write either 'parent' or 'checkpoint' here")
            return None
        if given.parent is None:
            network, seed = self._by_parts[parts], None
        else:
            mark = attacks.item_mark(place, "source.parent", origin)
            network, seed = self._other(parts, _written(attacks, place), origin)
        if network is None:
            return None
        if misfit := fit.other_task(parts[0].value, network.dataset):
            self.findings.add(mark, misfit)
        for key, message in fit.transfer(attacks.value[place], network.model):
            self.findings.add(attacks.item_mark(place, key, origin), message)
        return Source(network, seed, given.checkpoint, mark)

    def _other(
        self, parts: tuple[Part, ...], wanted: Node, origin: Mark
    ) -> tuple[Network | None, Part | None]:
        """A network with the given keys replaced, and its seed if one is given."""
        assert isinstance(wanted.value, dict)
        seed = None
        rest = {key: node for key, node in wanted.value.items() if key != "seed"}
        if len(rest) < len(wanted.value):
            seed = self.expansion.reader.read("seed", wanted.value["seed"])
        replaced = self._replace(parts, dataclasses.replace(wanted, value=rest), _WITH_SEED)
        if replaced is None or not (seed is None or seed.valid):
            return None, None
        self._check(replaced, origin)
        return self._resolve(replaced, wanted.mark, ()), seed

    def _resolve(
        self, parts: tuple[Part, ...], origin: Mark, trail: tuple[_Step, ...]
    ) -> Network | None:
        if parts in self._by_parts:
            return self._by_parts[parts]
        regime = parts[2]
        self._by_parts[parts] = None
        parent = file = source = None
        if regime.start is not None:
            file = regime.start.checkpoint
            if (file is None) == (regime.start.parent is None):
                message = "write either 'parent' or 'checkpoint' here"
                self.findings.add(regime.mark("start", origin), message)
                return None
            if file is None:
                parent = self._parent(parts, _START, origin, trail)
                if parent is None:
                    return None
        nds = parts[1].nds
        if nds is not None and nds.parent is not None:
            source = self._parent(parts, _NDS, origin, trail)
            if source is None or not self._fits(parts, source, origin):
                return None
        self._by_parts[parts] = self._same(parts, parent, file, source)
        return self._by_parts[parts]

    def _fits(self, parts: tuple[Part, ...], source: Network, origin: Mark) -> bool:
        """Whether a signature collected from `source` fits; notes it if not."""
        misfit = fit.source(parts[1].value, parts[0].value, source.model, source.dataset)
        if misfit:
            self.findings.add(parts[1].mark("neuron.nds.parent", origin), misfit)
        return not misfit

    def _same(
        self,
        parts: tuple[Part, ...],
        parent: Network | None,
        file: Checkpoint | None,
        source: Network | None,
    ) -> Network:
        sha256 = file.sha256 if file is not None else None
        nds = parts[1].nds
        signature = None if nds is None else (nds.own or nds.quantity)
        key = (*(id(part.value) for part in parts), parent, sha256, source, signature)
        if key not in self._by_content:
            values = [part.value for part in parts]
            extra = [] if nds is None else [signature, source.digest if source else None]
            text = canonical([*values, parent.digest if parent else None, sha256, *extra])
            digest = short_hash(text)[:8]
            self._by_content[key] = Network(parts, parent, file, nds, source, digest)
        return self._by_content[key]

    def _parent(
        self, parts: tuple[Part, ...], path: _Path, origin: Mark, trail: tuple[_Step, ...]
    ) -> Network | None:
        wanted = _at(parts, (*path, "parent"))
        assert wanted is not None
        trail = (*trail, _Step(_key(parts), _name(parts)))
        if trail[-1].key in self._circular:
            return None
        replaced = self._replace(parts, wanted)
        if replaced is None:
            return None
        key = _key(replaced)
        if key in [step.key for step in trail]:
            self._refuse_cycle(key, trail, wanted.mark)
            return None
        if len(trail) >= MAX_GENERATIONS:
            self.findings.add(wanted.mark, f"more than {MAX_GENERATIONS} generations of parents")
            return None
        self._check(replaced, origin)
        return self._resolve(replaced, wanted.mark, trail)

    def _check(self, replaced: tuple[Part, ...], origin: Mark) -> None:
        check_network(replaced, origin, self.findings)
        faithful = self.expansion.systems.system_of(replaced[1]) is not None
        check_selection(replaced[2], origin, self.findings, faithful=faithful)

    def _refuse_cycle(self, key: tuple[int, ...], trail: tuple[_Step, ...], mark: Mark) -> None:
        self._circular |= {step.key for step in trail}
        if key == trail[-1].key:
            way_out = "replace another key, e.g. model.neuron, or add regime.start: null to it"
            self.findings.add(mark, f"the parent is the cell itself; {way_out}")
            return
        place = [step.key for step in trail].index(key)
        path = " -> ".join([*(step.name for step in trail[place:]), trail[place].name])
        self.findings.add(mark, f"a cycle of parents: {path}")

    def _replace(
        self, parts: tuple[Part, ...], wanted: Node, known: Sequence[str] = NETWORK
    ) -> tuple[Part, ...] | None:
        """This network's parts with the keys of a `parent` replaced."""
        nodes = {head: part.node for head, part in zip(NETWORK, parts, strict=True)}
        assert isinstance(wanted.value, dict)
        for key in sorted(wanted.value, key=lambda k: k.count(".")):
            head, value = nest(key, wanted.keys[key], wanted.value[key])
            if head not in NETWORK:
                self.findings.add(wanted.keys[key], unknown_key(key, known))
                return None
            if "." in key:
                nodes[head] = merge(nodes[head], value)
                continue
            if head == "regime" and isinstance(value.value, str):
                named = self._named(value)
                if named is None:
                    return None
                value = named
            nodes[head] = merge(self.expansion.defaults.get(head), value)
        made = [
            part if nodes[head] is part.node else self.expansion.reader.read(head, nodes[head])
            for head, part in zip(NETWORK, parts, strict=True)
        ]
        if not all(part.valid for part in made):
            return None
        system = self.expansion.systems.system_of(parts[1])
        if system is not None:
            dataset, model, regime = made
            none = self.expansion.reader.read("attacks", None)
            whole = (dataset, model, regime, none)
            made = list(self.expansion.systems.filled(system, whole, wanted.mark)[: len(NETWORK)])
        return tuple(made)

    def _named(self, word: Node) -> Node | None:
        """The one regime of the manifest that a bare name means."""
        name = str(word.value)
        finals: dict[object, Part] = {}
        for part in self._finals:
            if part.value.name == name:
                finals.setdefault((id(part.value), repr(part.start)), part)
        found = [part.node for part in finals.values() if part.node is not None]
        found = found or self.expansion.definitions.get(name, [])
        base = self.expansion.defaults.get("regime")
        if not found and base is not None and as_mapping(base).plain().get("name") == name:
            found = [base]
        if len(found) > 1:
            self.findings.add(word.mark, several(name, [node.mark for node in found]))
        if not found:
            known = {part.value.name for part in self._finals} | self.expansion.definitions.keys()
            message = (
                f"{shown(name)} is no regime of this manifest (it has {', '.join(sorted(known))})"
            )
            way_out = "write it out, e.g. {name: clean, epochs: 20}"
            self.findings.add(word.mark, f"{message}; {way_out}")
        return found[0] if len(found) == 1 else None


def _written(attacks: Part, place: int) -> Node:
    """What is written below `source.parent` of an attack."""
    assert attacks.node is not None
    node: Node | None = attacks.node.value[place]  # type: ignore[index,assignment]
    for step in ("source", "parent"):
        node = None if node is None else node.get(step)
    assert node is not None, "as validated"
    return node


def _at(parts: tuple[Part, ...], path: _Path) -> Node | None:
    """What is written at a key of a network."""
    head, *rest = path
    node = parts[NETWORK.index(head)].node
    for step in rest:
        node = None if node is None else node.get(step)
    return node


def _key(parts: tuple[Part, ...]) -> tuple[int, ...]:
    """Equal for parts that mean the same network, as far as is known before its parents are."""
    ends = [_at(parts, path) for path in (_START, _NDS)]
    return (*(id(part.value) for part in parts), *map(id, ends))


def _name(parts: tuple[Part, ...]) -> str:
    dataset, model, regime = (part.value for part in parts)
    return f"{dataset.name}/{model.name}-{model.neuron.name}/{regime.name}"
