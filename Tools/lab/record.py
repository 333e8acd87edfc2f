"""What the lab exercise measured, as Documentation/lab.json holds it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Stage:
    """The last activation of a network on a grid of this size."""

    index: int
    name: str
    operator: str
    channels: int
    grid: int
    chosen: bool


@dataclasses.dataclass(frozen=True)
class Network:
    name: str
    sha256: str
    reason: str
    stages: list[Stage]

    @property
    def chosen(self) -> Stage:
        return next(stage for stage in self.stages if stage.chosen)

    @property
    def finer(self) -> Stage:
        """The stage before that of the chosen layer."""
        return self.stages[self.stages.index(self.chosen) - 1]


@dataclasses.dataclass(frozen=True)
class Method:
    name: str
    title: str
    passes: str
    choices: list[str]


@dataclasses.dataclass(frozen=True)
class Saying:
    """What a network says of a picture, and how probable it finds the class that is explained."""

    network: str
    picture: str
    best: str
    best_probability: float
    explained: str
    probability: float

    @property
    def right(self) -> bool:
        return self.best == self.explained


@dataclasses.dataclass(frozen=True)
class Map:
    """A map by a method as it is used here; `sha256` is that of the raw map's numbers, little-endian, `mean` the heat map's mean."""

    network: str
    picture: str
    method: str
    sha256: str
    passes: int
    seconds: float
    note: str | None
    blank: str | None
    mean: float
    within: float | None
    points: bool | None


@dataclasses.dataclass(frozen=True)
class Likeness:
    """How alike two methods' heat maps are."""

    network: str
    picture: str
    first: str
    second: str
    pcc: float | None
    sim: float | None
    overlap: float


@dataclasses.dataclass(frozen=True)
class Change:
    """How alike a heat map is to that by the usual settings if one setting has another value."""

    method: str
    setting: str
    usual: str
    value: str
    pcc: float | None
    overlap: float


@dataclasses.dataclass(frozen=True)
class Division:
    """Of the picture with two animals: the shares of a heat map on each, or of the picture itself."""

    network: str
    what: str
    elephant: float | None
    bear: float | None


@dataclasses.dataclass
class Lab:
    """All of it. `seconds` are the processor's for all maps; `areas` how much of each picture the animal takes."""

    whitebox: str
    device: str
    standard: bool
    networks: list[Network]
    methods: list[Method]
    areas: dict[str, float] = dataclasses.field(default_factory=dict)
    seconds: float = 0
    sayings: list[Saying] = dataclasses.field(default_factory=list)
    maps: list[Map] = dataclasses.field(default_factory=list)
    likenesses: list[Likeness] = dataclasses.field(default_factory=list)
    changes_of: tuple[str, str] = ("", "")
    changes: list[Change] = dataclasses.field(default_factory=list)
    divisions: list[Division] = dataclasses.field(default_factory=list)

    def of(self, method: str) -> list[Map]:
        return [m for m in self.maps if m.method == method]

    def between(self, first: str, second: str) -> list[Likeness]:
        return [row for row in self.likenesses if (row.first, row.second) == (first, second)]

    def changes_by(self, method: str, setting: str) -> list[Change]:
        return [row for row in self.changes if (row.method, row.setting) == (method, setting)]

    def division(self, network: str, what: str) -> Division:
        return next(row for row in self.divisions if (row.network, row.what) == (network, what))

    @classmethod
    def read(cls, path: Path) -> Lab:
        value = json.loads(path.read_text())
        value["networks"] = [
            Network(**network | {"stages": [Stage(**stage) for stage in network["stages"]]}) for network in value["networks"]
        ]
        rows = {"methods": Method, "sayings": Saying, "maps": Map, "likenesses": Likeness, "changes": Change, "divisions": Division}
        for name, row in rows.items():
            value[name] = [row(**one) for one in value[name]]
        value["changes_of"] = tuple(value["changes_of"])
        return cls(**value)

    def text(self) -> str:
        """As JSON, a row on each line, so that two versions can be compared."""
        def rounded(value: object) -> object:
            if isinstance(value, dict):
                return {key: rounded(inner) for key, inner in value.items()}
            return round(value, 4) if isinstance(value, float) else value

        def line(value: object) -> str:
            return json.dumps(rounded(value), ensure_ascii=False, default=lambda row: rounded(dataclasses.asdict(row)))

        lines = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                lines.append(f'"{field.name}": [\n  ' + ",\n  ".join(map(line, value)) + "\n]")
            else:
                lines.append(f'"{field.name}": {line(value)}')
        return "{\n" + ",\n".join(lines) + "\n}\n"
