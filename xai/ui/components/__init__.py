"""The app's two browser components: a channel scrubber and a picture viewer that reads values; both can have dials."""

from xai.ui.components.dials import Dial, Move, Moving, Values
from xai.ui.components.scrubber import Sprite, channels, scrubber
from xai.ui.components.viewer import Panel, Scale, Stage, moving_viewer, scene, still, viewer

__all__ = [
    "Dial",
    "Move",
    "Moving",
    "Panel",
    "Scale",
    "Sprite",
    "Stage",
    "Values",
    "channels",
    "moving_viewer",
    "scene",
    "scrubber",
    "still",
    "viewer",
]
