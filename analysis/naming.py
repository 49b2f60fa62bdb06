"""Short names for people, unambiguous within the rows they are made for."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import pandas as pd

THREAT = ["norm", "space", "clip"]
"""What an attacker may change; numbers are compared only where it is the same."""

_RARER = ("step_size", "random_start", "alpha", "draws", "evaluation_draws")
"""Options that are named only where nothing else tells two attacks apart."""
_USUAL = ("cross_entropy", "own")
"""Options of an attack that go without saying."""


def epsilon_text(numerator: int, denominator: int, *, grey: bool = False) -> str:
    """A radius as papers write it: n/255, or a decimal if that is exact.

    Args:
        numerator: of the radius.
        denominator: of the radius.
        grey: whether n/255 comes first, e.g. 51/255 for 0.2, as its neighbours are written so.
    """
    steps, rest = divmod(255 * int(numerator), int(denominator))
    if steps and rest == 0 and (grey or steps % 51):
        return f"{steps}/255"
    tail = int(denominator)
    for factor in (2, 5):
        while tail % factor == 0:
            tail //= factor
    return f"{numerator / denominator:g}" if tail == 1 else f"{numerator}/{denominator}"


def radii_text(points: pd.DataFrame) -> str:
    """The radii of some rows as papers write them, e.g. "0, 8/255, 16/255"."""
    grey = in_grey_levels(points)
    found = points.drop_duplicates("epsilon").sort_values("epsilon")
    return ", ".join(epsilon_text(r.epsilon_num, r.epsilon_den, grey=grey) for r in each(found))


def in_grey_levels(points: pd.DataFrame) -> bool:
    """Whether every radius is a whole number of 255ths, of the maximum norm.

    Args:
        points: with `epsilon_num`, `epsilon_den`, and `norm`, null where nothing is attacked.
    """
    whole = 255 * points["epsilon_num"] % points["epsilon_den"] == 0
    return bool((whole & (points["norm"].isna() | points["norm"].eq("linf"))).all())


def each(frame: pd.DataFrame) -> Iterable[Any]:
    """The rows as named tuples; their fields have the types of the schema."""
    return frame.itertuples()


def add_names(results: pd.DataFrame) -> pd.DataFrame:
    """Results with columns `network`, `training`, `attack_name` and `attack_setting`.

    A network's name says its encoder and time steps only where those tell networks of one dataset
    apart, a training's what its label says beyond that, and an attack's its rarer options and its
    source only where others on its samples share the rest. What nothing else tells apart has a
    piece of its id. Where several seeds of one setting are sources against one network, each is a
    setting of its own.
    """
    found = add_training_names(results)
    found["attack_setting"] = _attack_settings(results)
    pairs = zip(found["network"], found["training"], found["seed"], strict=True)
    known = dict(zip(found["training_id"], pairs, strict=True))
    attacks = {
        attack: name
        for _, group in found.drop_duplicates("attack_setting").groupby(
            ["dataset", "samples_sha256", *THREAT], observed=True, dropna=False
        )
        for attack, name in _distinct(_attacks(group, known)).items()
    }
    return found.assign(attack_name=found["attack_setting"].map(attacks))


def _attack_settings(results: pd.DataFrame) -> "pd.Series[str]":
    """What the seeds of an attack have in common, such that it meets each network once."""
    ids = results["attack_id"]
    if "attack_setting" not in results:  # older tables do not say it
        return ids
    found = results["attack_setting"].fillna(ids)
    met = pd.DataFrame({"network": results["training_id"], "setting": found, "attack": ids})
    met = met[found != ids].drop_duplicates()
    twice = met.loc[met.duplicated(["network", "setting"]), "setting"]
    return found.mask(found.isin(set(twice)), ids)


def add_training_names(frame: pd.DataFrame) -> pd.DataFrame:
    """Results or trainings with columns `network` and `training`, as `add_names`."""
    repeats = frame.groupby("configuration")["faithful"].first()  # the first that is not null
    settings = frame.drop_duplicates("configuration").drop(columns="faithful")
    settings = settings.merge(repeats, left_on="configuration", right_index=True)
    names = {
        configuration: name
        for _, group in settings.groupby("dataset", observed=True)
        for configuration, name in _settings(group).items()
    }
    pairs = frame["configuration"].map(names)
    return frame.assign(network=[pair[0] for pair in pairs], training=[pair[1] for pair in pairs])


def _settings(settings: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Configuration → (network, training), for the settings of one dataset."""
    encoders, steps = (settings[name].nunique() > 1 for name in ("encoder", "time_steps"))
    found = {}
    for row in each(settings):
        network = f"{row.model}-{row.neuron}"
        network += f" {row.encoder}" * encoders + f" T{row.time_steps}" * steps
        found[str(row.configuration)] = network, _training(row)
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key, pair in found.items():
        alike[pair].append(key)
    labels = dict(zip(settings["configuration"], settings["label"], strict=True))
    for (network, training), keys in alike.items():
        if len(keys) > 1:
            words = _telling([_additions(labels[key]) for key in keys])
            for key, word in zip(keys, words or keys, strict=True):
                whole = (
                    (network, f"{training} {word}")
                    if words
                    else (f"{network} #{word[:4]}", training)
                )
                found[key] = whole
    return found


def _additions(label: str) -> list[str]:
    """What a label says beyond dataset, network and regime, such as "tau=3"."""
    return [word for word in str(label).split("/") if "=" in word]


def _telling(words: Sequence[Sequence[str]]) -> list[str]:
    """Of each list of words those that not all share; nothing if that tells them not apart."""
    shared = set[str].intersection(*map(set, words))
    texts = [" ".join(word for word in one if word not in shared) for one in words]
    return texts if all(texts) and len(set(texts)) == len(texts) else []


def _training(row: Any) -> str:
    """A regime with its attack and budget, e.g. "adversarial fgsm@8/255", perhaps "faithful B"."""
    words = [str(row.regime)]
    if isinstance(row.train_epsilon, str):
        radius = Fraction(row.train_epsilon)
        text = epsilon_text(radius.numerator, radius.denominator)
        words.append(f"{row.train_attack}@{text}")
    if isinstance(row.faithful, str):
        words.append(f"faithful {row.faithful}")
    return " ".join(words)


def _attacks(attacks: pd.DataFrame, networks: Mapping[str, tuple[str, str, int]]) -> dict[str, str]:
    """Attack setting → name, e.g. "pgd-10", "pgd-100x5 margin", "transfer apgd-10".

    Args:
        attacks: one row of each.
        networks: training id → network, training and seed, of those that are known.
    """
    found: dict[str, str] = {}
    more: dict[str, tuple[list[str], ...]] = {}
    for row in each(attacks):
        name = str(row.attack)
        if row.attack == "transfer":
            name += f" {row.source_attack}"
        if not pd.isna(row.steps):
            name += f"-{row.steps}"
        if not pd.isna(row.restarts) and row.restarts > 1:
            name += f"x{row.restarts}"
        source_id = getattr(row, "source_training_id", None)
        weights = getattr(row, "source_sha256", None)
        if row.attack != "transfer" and not (pd.isna(source_id) and pd.isna(weights)):
            name += " with a source"
        options = (row.loss, row.surrogate, row.gradient)
        name += "".join(f" {o}" for o in options if isinstance(o, str) and o not in _USUAL)
        found[row.attack_setting] = name
        values = {option: getattr(row, option, None) for option in _RARER}
        rarer = [f"{o}={v}" for o, v in values.items() if not pd.isna(v)]
        network, training, seed = networks.get(str(source_id), ("", "", 0))
        source = [f"from {network} {training}"] if network else []
        more[row.attack_setting] = rarer, [*rarer, *source], [*rarer, *source, f"seed {seed}"]
    alike: dict[str, list[str]] = defaultdict(list)
    for key, name in found.items():
        alike[name].append(key)
    for keys in alike.values():
        told = (_telling(words) for words in zip(*(more[key] for key in keys), strict=True))
        if len(keys) > 1 and (words := next(filter(None, told), None)):
            found |= {key: f"{found[key]} {word}" for key, word in zip(keys, words, strict=True)}
    return found


def _distinct(names: dict[str, str]) -> dict[str, str]:
    """Names, with a piece of the id behind those that several share."""
    texts = list(names.values())
    return {key: n if texts.count(n) == 1 else f"{n} #{key[:4]}" for key, n in names.items()}


def threat_text(norm: object, space: object, clip: object) -> str:
    """A threat model in words, e.g. "linf in pixel space, clipped to [0, 1]"."""
    if not isinstance(norm, str):
        return "no attack yet"
    return f"{norm} in {space} space, {'clipped to [0, 1]' if clip else 'not clipped'}"


def seeds_text(points: pd.DataFrame) -> str:
    """Over how many seeds the points are means, e.g. "2 to 3 seeds"."""
    fewest, most = points["seeds"].min(), points["seeds"].max()
    if most == 1:
        return "1 seed"
    return f"{most} seeds" if fewest == most else f"{fewest} to {most} seeds"
