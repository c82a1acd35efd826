"""The choices that decide a run: presets for every stage, checked once and written down as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

from xai.errors import UserError, one_of

METHODS = ("simclr", "byol")
STAGES = ("pretext", "heads", "finetune", "selflabel")


@dataclass(frozen=True)
class Views:
    """How a random view of a picture is made; every value is drawn for each picture on its own.

    Attributes:
        crop: smallest share of the area, in (0, 1].
        fits: draw again what is wider or higher than the picture, as torchvision does; else that side is cut to the
            picture's, which leaves more large views.
        flip: mirror half of the pictures.
        rotation: largest turn, in degrees.
        jitter: strength of brightness, contrast, saturation and hue (the last as a share of a full turn).
        jitter_share: share of the pictures that get it.
        grey, shuffle, invert, blur: share of the pictures without colour, with channels exchanged, negative, blurred.
        operations: number of random operations out of fourteen (see `operations`).
        cutout: largest side of the square that is blotted out, as a share of the side of the picture.
    """

    crop: float = 0.2
    fits: bool = False
    flip: bool = True
    rotation: float = 0.0
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    jitter_share: float = 0.8
    grey: float = 0.2
    shuffle: float = 0.0
    invert: float = 0.0
    blur: float = 0.0
    operations: int = 0
    cutout: float = 0.0


PLAIN = Views(crop=1.0, flip=False, jitter_share=0.0, grey=0.0)
# `fits` is off where nobody says so: runs that were made before it do not, and would see other views than they learnt.
ORDINARY = Views(fits=True)
STRONG = Views(crop=0.6, fits=True, jitter_share=0.0, grey=0.0, operations=4, cutout=0.5)
# On glyphs colour must not be a short cut, and every turn of an object is the same object.
GLYPHS = Views(
    crop=0.6, rotation=180, jitter=(0.4, 0.4, 0.4, 0.15), jitter_share=0.7, grey=0.3, shuffle=0.5, invert=0.3, blur=0.5
)


@dataclass(frozen=True)
class Pretext:
    """How features are learned.

    Attributes:
        method: "simclr" (Chen et al. 2020) or "byol" (Grill et al. 2020).
        epochs: passes over the training pictures.
        batch: pictures in a step, over all processes.
        looks: random views of each picture in a step; BYOL takes two.
        optimizer: "adamw" or "sgd".
        rate, decay: highest learning rate (after a warm-up, then a cosine), and decay of matrices and kernels.
        warmup: share of the steps in which the rate grows.
        temperature: of the contrastive loss of SimCLR.
        average: decay of BYOL's target network at first; it rises to 1 by the end.
        projection: width of the vectors that are compared.
        hidden: width of the layers before them, of BYOL.
        monitor: epochs between two measurements of nearest neighbours.
        views: how they are made.
    """

    method: str = "simclr"
    epochs: int = 200
    batch: int = 512
    looks: int = 2
    optimizer: str = "sgd"
    rate: float = 0.4
    decay: float = 1e-4
    warmup: float = 0.05
    temperature: float = 0.1
    average: float = 0.99
    projection: int = 128
    hidden: int = 1024
    monitor: int = 5
    views: Views = ORDINARY


@dataclass(frozen=True)
class HeadTraining:
    """How heads learn on cached features: the SCAN loss.

    Attributes:
        epochs, batch, rate, decay: of Adam.
        entropy: weight of the entropy of the mean assignment (lambda of the paper).
        memory: samples over which that mean runs; 0: the batch alone.
        cached: random views of each picture whose features are kept, beside the plain one.
        views: how they are made.
    """

    epochs: int = 60
    batch: int = 1024
    rate: float = 3e-3
    decay: float = 1e-4
    entropy: float = 5.0
    memory: int = 0
    cached: int = 6
    views: Views = ORDINARY


@dataclass(frozen=True)
class FineTuning:
    """How heads and network go on learning together: the SCAN loss on pixels.

    Attributes:
        epochs, batch, rate, decay: of Adam; the rate rises during `warmup`, a share of the steps, then falls to zero.
        entropy, memory: as for the heads.
        gate: let the start stay where no epoch has a better score without labels; without it, as in the paper, the
            best epoch stays. That score asks for the neighbours of the pretext task, which favours the start.
        views: of the picture and of its neighbour.
    """

    epochs: int = 20
    batch: int = 256
    rate: float = 1e-4
    decay: float = 1e-4
    warmup: float = 0.1
    entropy: float = 5.0
    memory: int = 4096
    gate: bool = True
    views: Views = STRONG


@dataclass(frozen=True)
class SelfLabelling:
    """How confident pictures teach the others; what comes out is kept only where the gate lets it pass.

    Attributes:
        epochs, batch, rate, decay, warmup: as for fine-tuning.
        threshold: confidence that a picture needs in the end.
        start: confidence that it needs in the first epoch, as a quantile of its cluster's confidences.
        least: confident pictures that a cluster needs, else its best ones are taken.
        average: decay of the teacher, a running average of network and norms.
        looks: random views of a picture over which the teacher's answer is averaged; 0: it sees the plain picture.
        gate: ask the measures without labels whether an epoch helped; without it the last teacher stays, as in the
            paper.
        views: of the picture that learns, and of the teacher's looks.
    """

    epochs: int = 10
    batch: int = 256
    rate: float = 1e-4
    decay: float = 1e-4
    warmup: float = 0.1
    threshold: float = 0.95
    start: float = 0.5
    least: int = 10
    average: float = 0.99
    looks: int = 0
    gate: bool = True
    views: Views = STRONG


@dataclass(frozen=True)
class Group:
    """Heads that are trained together.

    Attributes:
        tag: its name inside the run.
        heads: numbers of clusters.
        replicas: heads of each size that are kept.
        training: on cached features.
        finetune: with the network, or None: the heads stay on the features of the pretext task.
        selflabel: or None.
        tries: heads of each size that are trained on the cached features, of which the best stay; 0: as many as stay.
    """

    tag: str = "main"
    heads: tuple[int, ...] = (10,)
    replicas: int = 1
    training: HeadTraining = HeadTraining()
    finetune: FineTuning | None = FineTuning()
    selflabel: SelfLabelling | None = SelfLabelling()
    tries: int = 0


@dataclass(frozen=True)
class ScanConfig:
    """A whole run.

    Attributes:
        preset: what it started from.
        data: "glyphs", a folder, a data set of torchvision, or a packed array (.npz, .npy).
        size: side of the working pixels.
        seed: of every random choice.
        threads: of torch; sums in another order give other last digits.
        architecture: see `nets.ARCHITECTURES`.
        mean, std: normalisation of pixels in [0, 1].
        glyphs: pictures to draw for training and for validation.
        validation_share: held out where the data has no split of its own.
        labels: "auto" (those that the data has; for measuring only) or "none".
        limit: at most so many training pictures; 0: all.
        neighbours: how many each picture has.
        space: where they are looked for: "projector" (as the paper does with SimCLR) or "backbone".
        embedding_views: views, the same for every picture, whose mean vector is the embedding by which pictures are
            compared, so that it holds little of what a view changes (test-time augmentation); 0: that of the plain
            picture, as in the paper.
        settle: measure and keep fine-tuned and self-labelled networks with the batch norms of plain pictures; of use
            where they learn from other views than the pretext task.
        half: keep weights in 16 bits.
        start: weights file for the backbone, or a features file (see `given`), or None.
        features: width of the features that a file gave in place of a network; 0: the run has a network.
        pretext: or None: the backbone starts from `start` as it is.
        groups: of heads.
    """

    preset: str = "embedded"
    data: str = "glyphs"
    size: int = 32
    seed: int = 0
    threads: int = 1
    architecture: str = "tiny"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)
    glyphs: tuple[int, int] = (3200, 1000)
    validation_share: float = 0.1
    labels: str = "auto"
    limit: int = 0
    neighbours: int = 20
    space: str = "projector"
    embedding_views: int = 0
    settle: bool = False
    half: bool = True
    start: str | None = None
    features: int = 0
    pretext: Pretext | None = Pretext()
    groups: tuple[Group, ...] = field(default_factory=lambda: (Group(),))

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in one sentence."""
        if self.space not in ("projector", "backbone"):
            raise one_of("space", self.space, ("projector", "backbone"))
        if self.labels not in ("auto", "none"):
            raise one_of("labels", self.labels, ("auto", "none"))
        if self.pretext is not None and self.pretext.method not in METHODS:
            raise one_of("method of the pretext task", self.pretext.method, METHODS)
        if self.pretext is not None and self.pretext.method == "byol" and self.pretext.looks != 2:
            raise UserError(f"BYOL takes 2 views of a picture in a step (pretext.looks), not {self.pretext.looks}.")
        learns = self.pretext is not None or any(group.finetune or group.selflabel for group in self.groups)
        if self.features and learns:
            raise UserError("A run from features has no network: no pretext task, fine-tuning or self-labelling.")
        ranges: list[tuple[str, float, float, float]] = [
            ("size", self.size, 8, 1024),
            ("threads", self.threads, 1, 1024),
            ("neighbours", self.neighbours, 1, 1000),
            ("number of embedding views", self.embedding_views, 0, 100),
            ("validation share", self.validation_share, 1e-6, 0.9),
        ]
        if self.pretext is not None:
            ranges += [("number of views in a step", self.pretext.looks, 2, 100)]
        for group in self.groups:
            ranges += [("number of clusters", size, 2, 100_000) for size in group.heads]
            ranges += [("number of replicas", group.replicas, 1, 100), ("number of tries", group.tries, 0, 1000)]
        stages: list[Any] = [self.pretext, *(s for g in self.groups for s in (g.training, g.finetune, g.selflabel))]
        for stage in filter(None, stages):
            ranges += [("number of epochs", stage.epochs, 1, 100_000), ("batch", stage.batch, 2, 1_000_000)]
            ranges += [("learning rate", stage.rate, 1e-9, 100)]
            ranges += [("number of random operations", stage.views.operations, 0, 10)]
        for name, value, low, high in ranges:
            if not low <= value <= high:
                raise UserError(f"The {name} must lie between {low:g} and {high:g}, not {value:g}.")
        tags = [group.tag for group in self.groups]
        if len(set(tags)) < len(tags) or any(len(set(g.heads)) < len(g.heads) or not g.heads for g in self.groups):
            raise UserError("Each group of heads needs a tag of its own and one or more different numbers of clusters.")

    def as_json(self) -> dict[str, Any]:
        """Every field by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ScanConfig:
        """Read what `as_json` wrote.

        Raises:
            UserError: a name is unknown or a value out of range.
        """
        return _read(cls, values)


_PARTS = {
    "pretext": Pretext,
    "training": HeadTraining,
    "finetune": FineTuning,
    "selflabel": SelfLabelling,
    "views": Views,
}


def _read(kind: type[Any], values: Mapping[str, Any]) -> Any:
    known = {each.name for each in fields(kind)}
    made: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise one_of("entry of a run's configuration", name, sorted(known))
        if name == "groups":
            value = tuple(_read(Group, group) for group in value)
        elif name in _PARTS and isinstance(value, Mapping):
            value = _read(_PARTS[name], value)
        elif isinstance(value, list):
            value = tuple(value)
        made[name] = value
    return kind(**made)


def changed(config: Any, path: str, value: Any) -> Any:
    """Change one entry, named by a dotted path such as "pretext.epochs"; text is read as the entry's type.

    "groups.training.epochs" changes every group.

    Raises:
        UserError: there is no such entry, or the text does not fit.
    """
    name, _, rest = path.partition(".")
    names = [each.name for each in fields(config)] if is_dataclass(config) else []
    if name not in names:
        raise one_of("entry of a run's configuration", name, names)
    new = getattr(config, name)
    if name == "groups" and rest:
        new = tuple(changed(group, rest, value) for group in new)
    elif rest:
        new = changed(new, rest, value)
    elif isinstance(value, str):
        new = _as_type(value, type(new), path)
    else:
        new = value
    return type(config)(**{each: getattr(config, each) for each in names} | {name: new})


def _as_type(text: str, kind: type, path: str) -> Any:
    try:
        if kind is bool:
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
        if kind is tuple:
            return tuple(float(part) if "." in part or "e" in part else int(part) for part in text.split(","))
        return kind(text) if kind in (int, float) else text
    except (ValueError, KeyError):
        raise UserError(f"The value of {path} must be of type {kind.__name__}, not {text!r}.") from None
