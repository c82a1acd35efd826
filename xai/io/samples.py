"""The photographs that come inside scikit-image, scikit-learn and Matplotlib, found without any download."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import PIL.Image

from xai.errors import UserError, one_of


@dataclass(frozen=True)
class Sample:
    """A photograph that an installed package carries.

    Attributes:
        name: what `load_image` takes, such as "cat".
        title: what the picture shows.
        credit: who made it, as the package says.
        licence: under which terms, as the package (or, for Matplotlib, its history) says.
        package: name of the distribution that carries it, such as "scikit-image".
        file: its place inside the import package, such as "skimage/data/chelsea.png".
    """

    name: str
    title: str
    credit: str
    licence: str
    package: str
    file: str

    @property
    def path(self) -> Path:
        """Where the photograph lies on this machine; finding it imports nothing.

        Raises:
            UserError: the package is not installed, or came without the file.
        """
        module, _, inside = self.file.partition("/")
        # The spec of a top-level package names its folder without running it: importing these takes seconds.
        spec = importlib.util.find_spec(module)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            path = Path(folder, inside)
            if path.is_file():
                return path
        raise UserError(f"The sample {self.name!r} comes with {self.package}; install that to use it.")


_CC0 = "CC0, no copyright restrictions"
_CC_BY = "Creative Commons Attribution 2.0 (CC BY 2.0)"
_PUBLIC = "public domain, no known copyright restrictions"

# Photographs of things that ImageNet has a class for come first.
_ALL = (
    Sample(
        "cat", "Chelsea, a tabby cat", "Stefan van der Walt", _CC0,
        "scikit-image", "skimage/data/chelsea.png",
    ),
    Sample(
        "coffee", "A cup of coffee", "Rachel Michetti, courtesy of Pikolo Espresso Bar", _CC0,
        "scikit-image", "skimage/data/coffee.png",
    ),
    Sample(
        "rocket", "Falcon 9 before its launch with DSCOVR", "SpaceX", "public domain",
        "scikit-image", "skimage/data/rocket.jpg",
    ),
    Sample(
        "motorcycle", "A red motorcycle in a garage",
        "D. Scharstein, H. Hirschmueller, Y. Kitajima, G. Krathwohl, N. Nesic, X. Wang and P. Westling: "
        "Middlebury 2014 stereo benchmark, left picture",
        "terms not stated by the package",
        "scikit-image", "skimage/data/motorcycle_left.png",
    ),
    Sample(
        "china", "A Chinese tower above a lake", "danielbuechele on Flickr", _CC_BY,
        "scikit-learn", "sklearn/datasets/images/china.jpg",
    ),
    Sample(
        "flower", "An orange flower", "vultilion on Flickr (danielbuechele in the README)", _CC_BY,
        "scikit-learn", "sklearn/datasets/images/flower.jpg",
    ),
    Sample(
        "grace_hopper", "Grace Hopper in uniform", "United States Navy", "public domain",
        "Matplotlib", "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
    ),
    Sample(
        "astronaut", "Eileen Collins in a space suit", "NASA", _PUBLIC,
        "scikit-image", "skimage/data/astronaut.png",
    ),
    Sample(
        "hubble", "The Hubble eXtreme Deep Field", "NASA", "public domain",
        "scikit-image", "skimage/data/hubble_deep_field.jpg",
    ),
    Sample(
        "retina", "A human retina", "Mikael Häggström", _CC0,
        "scikit-image", "skimage/data/retina.jpg",
    ),
    Sample(
        "tissue", "Stained glands of the colon under a microscope",
        "Center for Microscopy and Molecular Imaging (CMMI)", "no known copyright restrictions",
        "scikit-image", "skimage/data/ihc.png",
    ),
)  # fmt: skip

SAMPLES: Mapping[str, Sample] = MappingProxyType({sample.name: sample for sample in _ALL})


def sample_names() -> tuple[str, ...]:
    """Name the samples in display order."""
    return tuple(SAMPLES)


def load_sample(name: str) -> PIL.Image.Image:
    """Read one sample photograph as an RGB picture.

    Raises:
        UserError: there is no sample of that name, or the package that carries it is not installed.
    """
    if name not in SAMPLES:
        raise one_of("sample", name, SAMPLES)
    with PIL.Image.open(SAMPLES[name].path) as picture:
        return picture.convert("RGB")
