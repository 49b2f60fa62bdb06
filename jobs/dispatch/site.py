"""The user's site.yaml: where things lie on this cluster, and profiles of its partitions.

It is never part of a run root, so that manifests and results travel without it. Every value that
reaches SLURM is matched whole against a strict set of characters: a line break in one would run
as shell code in the batch script.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import EnvironmentFault, UsageError, meant

if TYPE_CHECKING:
    import yaml

VARIABLE = "SPIKEGRID_SITE"
SINKS_VARIABLE = "SPIKEGRID_SINKS"
SINKS = ("tensorboard", "wandb")
"""Where metrics can go besides metrics.jsonl (`jobs.running.sinks`)."""
DEFAULT = "default"
"""Name of the profile that is used where a manifest names none."""

MAX_BYTES = 100_000

_LIST = r"[A-Za-z0-9_.,-]{1,256}"
_NODES = r"[A-Za-z0-9_.,\[\]-]{1,1024}"
_PATTERNS = {
    "partition": _LIST,
    "account": r"[A-Za-z0-9_.@+-]{1,256}",
    "qos": _LIST,
    "constraint": r"[A-Za-z0-9_.,&|!*()\[\]-]{1,256}",
    "mail_type": r"[A-Za-z0-9_,]{1,256}",
    "mail_user": r"[A-Za-z0-9_.%+@-]{1,256}",
    "gres": r"[A-Za-z0-9_.,:=/-]{1,256}",
    "exclude": _NODES,
    "nodelist": _NODES,
}
_NUMBERS = {
    "signal_delay_s": (1, 65_535),
    "array_parallelism": (1, 1_000_000),
    "max_array_size": (1, 4_000_001),
    "slots": (1, 10_000),
}
_PATHS = ("root", "data", "python")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Where and how jobs of one kind run.

    Attributes:
        signal_delay_s: seconds before the time limit at which a job is told to save.
        preamble: lines of shell before the job, e.g. "module load cuda".
        array_parallelism: tasks of one array that may run at once.
        max_array_size: tasks of one array at most, if fewer than the cluster allows.
        slots: jobs at once on this machine's local queue.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    mail_type: str | None = None
    mail_user: str | None = None
    gres: str | None = None
    exclude: str | None = None
    nodelist: str | None = None
    signal_delay_s: int | None = None
    preamble: tuple[str, ...] = ()
    array_parallelism: int | None = None
    max_array_size: int | None = None
    slots: int | None = None

    def parameters(self) -> dict[str, Any]:
        """What is set, under the names of submitit's SlurmExecutor."""
        names = (*_PATTERNS, "signal_delay_s", "array_parallelism")
        found = {n: value for n in names if (value := getattr(self, n)) is not None}
        return {**found, "setup": [*self.preamble]} if self.preamble else found


@dataclass(frozen=True, kw_only=True)
class Site:
    """What site.yaml says.

    Attributes:
        root: the run root, if neither flag nor environment names one.
        data: the folder of datasets, likewise.
        python: the interpreter of jobs on the nodes.
        profiles: by name.
        sinks: where metrics go besides metrics.jsonl.
        source: the file; None if there is none.
    """

    root: str | None = None
    data: str | None = None
    python: str | None = None
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    sinks: tuple[str, ...] = ()
    source: Path | None = None

    def profile(self, name: str | None) -> Profile:
        """A profile by name; `default`, or one that sets nothing, if no name is given.

        Raises:
            UsageError: there is no such profile.
        """
        if name is None:
            return self.profiles.get(DEFAULT, Profile())
        if name in self.profiles:
            return self.profiles[name]
        where = str(self.source) if self.source else f"site.yaml (none found; set ${VARIABLE})"
        raise UsageError(
            f"{where} has no profile {name!r}{_choices(name, self.profiles)}; "
            "write one there, or take `profile` out of the manifest's resources"
        )


def path(env: Mapping[str, str]) -> Path | None:
    """Where site.yaml is looked for: $SPIKEGRID_SITE, else the user's configuration."""
    if env.get(VARIABLE):
        return Path(env[VARIABLE])
    return Path(env["HOME"], ".config/spikegrid/site.yaml") if env.get("HOME") else None


def load(env: Mapping[str, str]) -> Site:
    """Read site.yaml; an absent one is empty. $SPIKEGRID_SINKS, even empty, comes before its `sinks`.

    Raises:
        UsageError: $SPIKEGRID_SITE names no file, or something in it is wrong; all problems with
            line and column.
        EnvironmentFault: others could have written it.
    """
    found = _read(env)
    if SINKS_VARIABLE not in env:
        return found
    words = [word.strip() for word in env[SINKS_VARIABLE].split(",")]
    chosen = tuple(dict.fromkeys(filter(None, words)))
    if wrong := [word for word in chosen if word not in SINKS]:
        raise UsageError(f"${SINKS_VARIABLE}: {wrong[0]!r} is no sink{_choices(wrong[0], SINKS)}")
    return replace(found, sinks=chosen)


def _read(env: Mapping[str, str]) -> Site:
    source = path(env)
    if source is None or (not source.exists() and not env.get(VARIABLE)):
        return Site()
    try:
        text = _trusted(source)
    except FileNotFoundError:
        raise UsageError(f"{source}: no such file, but ${VARIABLE} names it; unset it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentFault(f"{source}: cannot be read ({error})") from error
    return _Reader(source, env.get("HOME", "/")).site(text)


def _trusted(source: Path) -> str:
    """The text of a file that nobody but its owner can have written."""
    with source.open("rb") as file:
        status = os.fstat(file.fileno())
        if status.st_uid not in {os.getuid(), 0}:
            raise EnvironmentFault(
                f"{source}: belongs to user {status.st_uid}, and its lines would run as yours; "
                "copy it, read it, and keep the copy as your own"
            )
        if status.st_mode & 0o022:
            raise EnvironmentFault(f"{source}: others can write here; run: chmod go-w {source}")
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UsageError(f"{source}: larger than {MAX_BYTES:,} bytes; this is no site.yaml")
    return data.decode()


def _choices(name: str, known: Iterable[str]) -> str:
    listed = ", ".join(sorted(known))
    return f" (has {listed}){meant(name, known)}" if listed else ""


class _Reader:
    """Turns the nodes of one YAML document into a Site, and notes what is wrong with them."""

    def __init__(self, source: Path, home: str) -> None:
        self._source = source
        self._home = home
        self._problems: list[str] = []

    def site(self, text: str) -> Site:
        import yaml  # only for those who have a site.yaml

        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
            reason = getattr(error, "problem", None) or error
            raise UsageError(f"{self._source}{place}: not YAML: {reason}") from error
        if node is None:
            return Site(source=self._source)
        found = self._mapping(node, "", (*_PATHS, "profiles", "sinks"))
        places = {key: self._path(found[key], key) for key in _PATHS if key in found}
        profiles = {}
        if "profiles" in found:
            named = self._mapping(found["profiles"], "profiles", None)
            profiles = {name: self._profile(n, f"profiles.{name}") for name, n in named.items()}
        sinks = self._sinks(found["sinks"]) if "sinks" in found else ()
        if self._problems:
            raise UsageError("\n".join(self._problems))
        return Site(**places, profiles=profiles, sinks=sinks, source=self._source)

    def _wrong(self, node: yaml.Node, key: str, message: str) -> None:
        mark = node.start_mark
        where = f"{self._source}:{mark.line + 1}:{mark.column + 1}"
        self._problems.append(f"{where}: {key}: {message}" if key else f"{where}: {message}")

    def _mapping(
        self, node: yaml.Node, key: str, known: tuple[str, ...] | None
    ) -> dict[str, yaml.Node]:
        """Keys and values; names of the user's own are checked if no keys are known."""
        import yaml

        if not isinstance(node, yaml.MappingNode):
            self._wrong(node, key, "expected keys with values, e.g. `profiles: {gpu: {...}}`")
            return {}
        found: dict[str, yaml.Node] = {}
        for name_node, value in node.value:
            name = str(name_node.value)
            path = f"{key}.{name}" if key else name
            if name in found:
                self._wrong(name_node, path, "the key is there twice; remove one")
            elif known is not None and name not in known:
                self._wrong(name_node, path, f"unknown key{_choices(name, known)}")
            elif known is None and not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
                self._wrong(name_node, path, "a profile's name has letters, digits, . _ - only")
            else:
                found[name] = value
        return found

    def _profile(self, node: yaml.Node, key: str) -> Profile:
        known = tuple(one.name for one in fields(Profile))
        values: dict[str, Any] = {}
        for name, value in self._mapping(node, key, known).items():
            path = f"{key}.{name}"
            if name == "preamble":
                values[name] = self._lines(value, path)
            elif name in _NUMBERS:
                values[name] = self._number(value, path, *_NUMBERS[name])
            else:
                values[name] = self._word(value, path, _PATTERNS[name])
        return Profile(**values)

    def _scalar(self, node: yaml.Node, key: str, wanted: str) -> str | None:
        import yaml

        if isinstance(node, yaml.ScalarNode) and node.value:
            return str(node.value)
        self._wrong(node, key, f"expected {wanted}")
        return None

    def _word(self, node: yaml.Node, key: str, pattern: str) -> str | None:
        text = self._scalar(node, key, "a word")
        if text is None or re.fullmatch(pattern, text):
            return text
        allowed = pattern.partition("]{")[0].removeprefix("[").replace("\\", "")
        bad = next((c for c in text if not re.fullmatch(pattern, c)), None)
        reason = "too long" if bad is None else f"character {bad!r} not allowed"
        self._wrong(node, key, f"{text[:80]!r}: {reason} (only {allowed})")
        return None

    def _number(self, node: yaml.Node, key: str, low: int, high: int) -> int | None:
        text = self._scalar(node, key, "a whole number")
        if text is None or (re.fullmatch(r"[1-9][0-9]{0,8}", text) and low <= int(text) <= high):
            return None if text is None else int(text)
        self._wrong(node, key, f"expected a whole number from {low} to {high}, got {text[:80]!r}")
        return None

    def _lines(self, node: yaml.Node, key: str) -> tuple[str, ...]:
        import yaml

        if not isinstance(node, yaml.SequenceNode):
            self._wrong(node, key, 'expected a list of lines, e.g. ["module load cuda"]')
            return ()
        lines = [self._scalar(item, f"{key}.{i}", "a line") for i, item in enumerate(node.value)]
        for item, line in zip(node.value, lines, strict=True):
            if line is not None and not line.isprintable():
                self._wrong(item, key, f"{line[:80]!r}: one line each, without control characters")
        return tuple(line for line in lines if line is not None)

    def _sinks(self, node: yaml.Node) -> tuple[str, ...]:
        import yaml

        if not isinstance(node, yaml.SequenceNode):
            self._wrong(node, "sinks", f"expected a list of {', '.join(SINKS)}")
            return ()
        for i, item in enumerate(node.value):
            if item.value not in SINKS:
                text = f"{str(item.value)[:80]!r} is no sink{_choices(str(item.value), SINKS)}"
                self._wrong(item, f"sinks.{i}", text)
        return tuple(dict.fromkeys(str(item.value) for item in node.value))

    def _path(self, node: yaml.Node, key: str) -> str | None:
        text = self._scalar(node, key, "a path")
        if text is None:
            return None
        whole = self._home + text[1:] if text == "~" or text.startswith("~/") else text
        safe: Callable[[str], object] = str.isprintable
        if key == "python":  # it stands in the batch script
            safe = re.compile(r"[A-Za-z0-9_./+@,-]+").fullmatch
        if whole.startswith("/") and safe(whole):
            return whole
        reason = "spaces and signs of the shell are" if key == "python" else "line breaks are"
        self._wrong(
            node, key, f"{text[:80]!r}: expected an absolute path, or ~/…; {reason} refused"
        )
        return None
