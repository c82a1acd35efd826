"""Find the files that stand beside the package: app, pages, notebooks and exported notebooks."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_BUNDLE = _PACKAGE / "_bundle"  # only in an installed wheel: pyproject.toml says what it holds


def project_file(name: str) -> Path:
    """Say where a file or folder of the project's top level is, in a checkout or in an installed package.

    Args:
        name: path from the top level, "app.py" or "notebooks/01_feature_maps.ipynb".

    Returns:
        The absolute path: in the checkout that holds the package, otherwise the copy inside the package.

    Raises:
        FileNotFoundError: this installation has no such file.
    """
    root = _BUNDLE if _BUNDLE.is_dir() else _PACKAGE.parent
    path = root / name
    if not path.exists():
        raise FileNotFoundError(f"{name} is missing from this installation of xai (looked in {root}).")
    return path
