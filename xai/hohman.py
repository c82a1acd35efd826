"""The six questions of the survey by Hohman et al. (2018) and its categories: the vocabulary of the report."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Hohman, Kahng, Pienta, Chau 2018: Visual Analytics in Deep Learning, arXiv 1801.06889, sections 4 to 9.
QUESTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "why": (
            "interpretability and explainability",
            "debugging and improving models",
            "comparing and selecting models",
            "teaching deep learning concepts",
        ),
        "who": ("model developers and builders", "model users", "non-experts"),
        "what": (
            "computational graph and network architecture",
            "learned model parameters",
            "individual computational units",
            "neurons in high-dimensional space",
            "aggregated information",
        ),
        "how": (
            "node-link diagrams for network architecture",
            "dimensionality reduction and scatter plots",
            "line charts for temporal metrics",
            "instance-based analysis and exploration",
            "interactive experimentation",
            "algorithms for attribution and feature visualization",
        ),
        "when": ("during training", "after training"),
        "where": ("application domains and models", "a vibrant research community"),
    }
)

Categories = Mapping[str, tuple[str, ...]]


def categories(**chosen: tuple[str, ...]) -> Categories:
    """Return categories per question after checking that each is one of the survey's; all six must be answered."""
    for question, valid in QUESTIONS.items():
        unknown = set(chosen.get(question, ())) - set(valid)
        if question not in chosen or not chosen[question] or unknown:
            raise ValueError(f"{question}: {sorted(unknown) or 'no answer'}; the survey's categories are {valid}")
    return MappingProxyType(dict(chosen))
