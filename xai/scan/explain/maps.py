"""How clusters are mapped where nobody says otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xai.explanation import Explanation
    from xai.scan.run import Head, ScanRun

CLUSTER_CAM = "grad_cam_plus_plus"  # of all class-dependent maps its peak lies on the object most often
CONTRAST_CAM = "grad_cam"  # in place of CLUSTER_CAM, which does not tell what speaks against a cluster
SIGNED = ("grad_cam", "hires_cam")  # without relu


def map_options(run: ScanRun, method: str) -> dict[str, Any]:
    """Return the options of a method for a run: over turned copies if it learnt from pictures turned any way.

    To such a network all copies are alike, and a mean over them cancels what one raster of pooling happens to favour.
    """
    from xai.registry import find_method

    views = (run.config.pretext or run.config.groups[0].training).views
    any_way = views.rotation >= 180 and views.flip
    return {"turned": True} if any_way and "turned" in find_method(method).defaults else {}


def map_cluster(
    run: ScanRun,
    head: Head,
    picture: Any,
    method: str = CLUSTER_CAM,
    *,
    layer: str | None = None,
    cluster: int | None = None,
) -> Explanation:
    """Map a cluster of a head on one picture, with the options for the run; None: the one the picture lies in."""
    from xai.explanation import explain

    return explain(run.model(head), picture, method, target=cluster, layer=layer, **map_options(run, method))


def contrast_options(method: str) -> tuple[str, dict[str, Any]]:
    """Return method and options for a cluster rather than another: with both signs where the method can."""
    method = CONTRAST_CAM if method == CLUSTER_CAM else method
    return method, {"relu": False} if method in SIGNED else {}
