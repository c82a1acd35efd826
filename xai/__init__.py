"""Ask an image model "why?": one library of explanations under the app, the notebooks and the commands."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xai.attacks import Attack, attack
    from xai.comparison import compare
    from xai.dreams import Dream, dream
    from xai.errors import Cancelled, UserError
    from xai.explanation import Explanation, explain, explain_batch
    from xai.inspection import FeatureMaps, Filters, feature_maps, filters
    from xai.io.images import Image, load_image
    from xai.io.models import MODELS
    from xai.io.samples import SAMPLES
    from xai.load import load_model, preflight
    from xai.model import Model
    from xai.patches import strongest
    from xai.registry import METHODS
    from xai.spec import RunSpec
    from xai.sweeps import attack_sweep
    from xai.tracing import ImageTrace, predict, trace

_HOME = {
    "attacks": ("Attack", "attack"),
    "dreams": ("Dream", "dream"),
    "patches": ("strongest",),
    "sweeps": ("attack_sweep",),
    "errors": ("Cancelled", "UserError"),
    "comparison": ("compare",),
    "explanation": ("Explanation", "explain", "explain_batch"),
    "inspection": ("FeatureMaps", "Filters", "feature_maps", "filters"),
    "io.images": ("Image", "load_image"),
    "io.models": ("MODELS",),
    "io.samples": ("SAMPLES",),
    "load": ("load_model", "preflight"),
    "model": ("Model",),
    "registry": ("METHODS",),
    "spec": ("RunSpec",),
    "tracing": ("ImageTrace", "predict", "trace"),
}
_MODULE_OF = {name: f"xai.{module}" for module, names in _HOME.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import xai` and `xai --help` do not wait for torch."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'xai' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
