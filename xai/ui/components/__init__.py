"""The app's two browser components: a channel scrubber and a picture viewer that reads values."""

from xai.ui.components.scrubber import Sprite, scrubber
from xai.ui.components.viewer import Panel, Scale, Stage, viewer

__all__ = ["Panel", "Scale", "Sprite", "Stage", "scrubber", "viewer"]
