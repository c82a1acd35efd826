"""Runs by name: what to train on which data, and what it should cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from xai.errors import one_of
from xai.scan.config import (
    GLYPHS,
    ORDINARY,
    STRONG,
    FineTuning,
    Group,
    HeadTraining,
    Pretext,
    ScanConfig,
    SelfLabelling,
)

CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ScanPreset:
    """A configuration and what to expect of it, in one sentence."""

    config: ScanConfig
    about: str


def find_preset(name: str) -> ScanConfig:
    """Return the configuration of that name.

    Raises:
        UserError: there is none.
    """
    if name not in PRESETS:
        raise one_of("preset", name, PRESETS)
    return PRESETS[name].config


_ON_PROCESSOR = Pretext(optimizer="adamw", rate=2e-3, decay=0.01, temperature=0.2)
_GLYPHS = ScanConfig(
    preset="embedded",
    threads=2,
    neighbours=20,
    embedding_views=8,
    pretext=replace(_ON_PROCESSOR, epochs=35, batch=128, warmup=0.1, views=GLYPHS),
    groups=(
        Group(
            heads=(3, 8, 24),
            replicas=5,
            tries=20,
            training=HeadTraining(epochs=100, batch=512, rate=2e-2, views=GLYPHS),
            finetune=FineTuning(epochs=2, views=GLYPHS),
            selflabel=SelfLabelling(
                epochs=10, rate=5e-4, threshold=0.6, start=0.2, average=0.95, looks=4, views=GLYPHS
            ),
        ),
    ),
)
_SMOKE = ScanConfig(
    preset="smoke",
    architecture="micro",
    glyphs=(600, 120),
    neighbours=5,
    pretext=replace(_ON_PROCESSOR, epochs=3, batch=100, warmup=0.1, projection=32, monitor=1, views=GLYPHS),
    groups=(
        Group(
            heads=(3, 8),
            replicas=2,
            training=HeadTraining(epochs=10, batch=200, cached=2, views=GLYPHS),
            finetune=FineTuning(epochs=1, batch=100, views=GLYPHS),
            selflabel=SelfLabelling(epochs=1, batch=100, views=GLYPHS),
        ),
    ),
)
_CIFAR_MINI = ScanConfig(
    preset="cifar-mini",
    settle=True,
    data="CIFAR10",
    mean=CIFAR_MEAN,
    std=CIFAR_STD,
    limit=5000,
    pretext=replace(_ON_PROCESSOR, epochs=60, batch=256),
    groups=(Group(heads=(10,), replicas=10, finetune=FineTuning(epochs=5, gate=False)),),
)
_GPU_200 = ScanConfig(
    preset="gpu-200",
    settle=True,
    data="CIFAR10",
    architecture="resnet18-32",
    mean=CIFAR_MEAN,
    std=CIFAR_STD,
    space="backbone",
    embedding_views=8,
    pretext=Pretext(epochs=200, batch=1024, rate=0.6, decay=5e-4, warmup=0.1, temperature=0.5, monitor=25),
    groups=(
        Group(
            heads=(10,),
            replicas=10,
            training=HeadTraining(batch=4096),
            finetune=FineTuning(epochs=25, batch=1024, gate=False),
            selflabel=SelfLabelling(epochs=100, batch=1000, threshold=0.99, average=0.999),
        ),
    ),
)
_PAPER = ScanConfig(
    preset="paper",
    settle=True,
    data="CIFAR10",
    architecture="resnet18-32",
    mean=CIFAR_MEAN,
    std=CIFAR_STD,
    pretext=Pretext(epochs=500, batch=512, monitor=25),
    groups=(
        Group(
            heads=(10,),
            replicas=10,
            training=HeadTraining(batch=4096, views=STRONG),
            finetune=FineTuning(epochs=50, batch=128, memory=0, gate=False),
            selflabel=SelfLabelling(epochs=200, batch=1000, threshold=0.99, average=0.999),
        ),
    ),
)
_PICTURES = ScanConfig(
    preset="pictures",
    settle=True,
    data="",
    size=64,
    architecture="tiny",
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    pretext=replace(_ON_PROCESSOR, epochs=60, batch=256, views=replace(ORDINARY, blur=0.2)),
    groups=(Group(heads=(5, 10, 20), replicas=5, finetune=FineTuning(epochs=5, gate=False)),),
)

PRESETS: Mapping[str, ScanPreset] = MappingProxyType(
    {
        "embedded": ScanPreset(_GLYPHS, "3,200 drawn glyphs, a tiny network, heads 3, 8 and 24: the run that ships."),
        "smoke": ScanPreset(_SMOKE, "600 glyphs in seconds: shows that everything works, learns next to nothing."),
        "pictures": ScanPreset(_PICTURES, "a folder of your own at 64 pixels, a tiny network, on a processor."),
        "cifar-mini": ScanPreset(_CIFAR_MINI, "5,000 CIFAR-10 pictures, a tiny network, on a processor."),
        "gpu-200": ScanPreset(_GPU_200, "CIFAR-10, ResNet-18, 200 epochs of SimCLR: for a GPU."),
        "paper": ScanPreset(_PAPER, "CIFAR-10 at the settings of the paper: 500, 50 and 200 epochs, for a GPU."),
    }
)
