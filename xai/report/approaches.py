"""The approaches of the report: the code of each, its categories in the survey by Hohman et al., and why they fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from xai.hohman import QUESTIONS, Categories, categories

INTERPRET, DEBUG, COMPARE, TEACH = QUESTIONS["why"]
BUILDERS, USERS, NON_EXPERTS = QUESTIONS["who"]
GRAPH, PARAMETERS, UNITS, SPACE, AGGREGATED = QUESTIONS["what"]
NODE_LINK, SCATTER, LINES, INSTANCES, INTERACTIVE, ATTRIBUTION = QUESTIONS["how"]
DURING, AFTER = QUESTIONS["when"]
DOMAINS, COMMUNITY = QUESTIONS["where"]


@dataclass(frozen=True)
class Approach:
    """One approach of the report.

    Attributes:
        key: its name in code and in links.
        title: heading of its section.
        reasons: for each of the six questions why these categories fit this use.
        code: where it is implemented, from the project's folder.
        page: the page of the app that shows it.
        methods: keys of the registry; their categories are those of the approach.
        own: its categories where it is no method of the registry.
    """

    key: str
    title: str
    reasons: Mapping[str, str]
    code: tuple[str, ...]
    page: str
    methods: tuple[str, ...] = ()
    own: Categories | None = None

    @property
    def categories(self) -> Categories:
        """Categories per question: its own, or those of its methods in the registry, each once."""
        if self.own is not None:
            return self.own
        from xai.registry import METHODS

        asked = [METHODS[key].hohman for key in self.methods]
        found = {
            question: tuple(name for name in names if any(name in each[question] for each in asked))
            for question, names in QUESTIONS.items()
        }
        return categories(**found)


_ENTRIES = (
    Approach(
        "filters",
        "Filters",
        {
            "why": "the kernels show what was learned, and dead or doubled ones show what was not",
            "who": "whoever designs or trains the network can read a kernel; a lay person sees only dots",
            "what": "the weights themselves are drawn, without any photograph",
            "how": "a kernel is its own picture: what it looks for is what it looks like",
            "when": "training can be watched through them as well as judged by them afterwards",
            "where": "any network that begins with a convolution over colours",
        },
        ("xai/compute/filters.py", "xai/inspection.py"),
        "filters",
        own=categories(
            why=(INTERPRET, DEBUG, TEACH), who=(BUILDERS, USERS), what=(PARAMETERS,), how=(ATTRIBUTION,),
            when=(DURING, AFTER), where=(DOMAINS,),
        ),
    ),
    Approach(
        "feature_maps",
        "Feature maps",
        {
            "why": "they show step by step what becomes of a photograph, and which channels stay silent",
            "who": "layers and channels mean something to those who build or choose networks",
            "what": "every panel is the activation of one channel",
            "how": "one photograph is followed through the layers, and sliders move through the channels",
            "when": "a finished network is asked; nothing about its training is shown",
            "where": "image classifiers of stacked convolutions",
        },
        ("xai/compute/activations.py", "xai/inspection.py"),
        "feature_maps",
        own=categories(
            why=(INTERPRET, DEBUG, TEACH), who=(BUILDERS, USERS), what=(UNITS,),
            how=(INSTANCES, INTERACTIVE, ATTRIBUTION), when=(AFTER,), where=(DOMAINS,),
        ),
    ),
    Approach(
        "feature_visualization",
        "Feature visualisation",
        {
            "why": "the picture that excites a class most shows at a glance what the class is to the network",
            "who": "the pictures need no formula to be looked at, and surprise experts too",
            "what": "learned weights are read through the unit that they feed",
            "how": "the picture is found by climbing the unit's own gradient",
            "when": "only a trained network has something to show",
            "where": "any network that lets a gradient reach its pixels",
        },
        ("xai/compute/feature_visualization.py", "xai/dreams.py"),
        "feature_visualization",
        own=categories(
            why=(INTERPRET, TEACH), who=(BUILDERS, USERS, NON_EXPERTS), what=(PARAMETERS, UNITS), how=(ATTRIBUTION,),
            when=(AFTER,), where=(DOMAINS,),
        ),
    ),
    Approach(
        "cam",
        "Class activation maps",
        {
            "why": "a map says which part carried the answer: the thing itself or its surroundings",
            "who": "a warm spot on a photograph is read by everybody",
            "what": "gradients and activations of one layer, summed up over its channels",
            "how": "one photograph at a time is attributed to places",
            "when": "a finished network is asked, without another training",
            "where": "convolutional classifiers, which keep places in their layers",
        },
        ("xai/compute/cam.py", "xai/compute/cam_variants.py", "xai/compute/cam_scores.py"),
        "attribution",
        (
            "grad_cam", "hires_cam", "grad_cam_plus_plus", "x_grad_cam", "layer_cam", "eigen_cam", "score_cam",
            "ablation_cam",
        ),
    ),
    Approach(
        "concepts",
        "Concepts",
        {
            "why": "parts that the network tells apart get a colour and a name, and mixed-up ones stand out",
            "who": "the reader has to know what a layer is to judge a direction in it",
            "what": "directions in the space of a layer, over groups of places and pictures",
            "how": "the space of channels is reduced to a few directions, shown on the pictures they came from",
            "when": "activations of a finished network are factorised",
            "where": "convolutional classifiers whose layers are not negative",
        },
        ("xai/compute/factorization.py", "xai/concepts.py"),
        "concepts",
        own=categories(
            why=(INTERPRET, DEBUG), who=(BUILDERS, USERS), what=(SPACE, AGGREGATED),
            how=(SCATTER, INSTANCES, ATTRIBUTION), when=(AFTER,), where=(DOMAINS,),
        ),
    ),
    Approach(
        "gradients",
        "Gradients",
        {
            "why": "they say which pixels move the score, and rules that should add up show when a rule is broken",
            "who": "single pixels in red and blue need somebody who knows what a gradient is",
            "what": "the gradient of one score at every value of the picture",
            "how": "one photograph at a time is attributed to pixels",
            "when": "a finished network is differentiated",
            "where": "any differentiable classifier; some rules only for networks of ReLUs",
        },
        ("xai/compute/gradients.py", "xai/compute/pixel_gradients.py", "xai/compute/propagation.py"),
        "attribution",
        (
            "saliency", "input_x_gradient", "guided_backprop", "smooth_grad", "var_grad", "integrated_gradients",
            "gradient_shap", "deep_lift", "deep_lift_shap", "lrp",
        ),
    ),
    Approach(
        "perturbation",
        "Perturbation",
        {
            "why": "hiding a part and asking again tests a reason, in the same way for any network",
            "who": "that it no longer says cat without this part is understood by everybody",
            "what": "answers to many changed pictures, summed up over superpixels",
            "how": "one photograph at a time is taken apart and attributed to its parts",
            "when": "only answers are asked, of a finished network",
            "where": "any classifier at all, and an active field: every year brings new ways to sample",
        },
        ("xai/compute/lime.py", "xai/compute/kernel_shap.py", "xai/compute/perturbation.py", "xai/compute/rise.py"),
        "attribution",
        ("lime", "kernel_shap", "occlusion", "rise", "feature_ablation"),
    ),
    Approach(
        "adversarial",
        "Adversarial pictures",
        {
            "why": "a change that nobody sees and that turns the answer shows how thin the reasons are",
            "who": "it is a test for those who answer for the network",
            "what": "the gradient of the loss at every value of the picture",
            "how": "one photograph is changed and asked about again while a slider moves the size of the change",
            "when": "a finished network is attacked",
            "where": "any differentiable classifier",
        },
        ("xai/compute/adversarial.py", "xai/attacks.py"),
        "adversarial",
        own=categories(
            why=(DEBUG, TEACH), who=(BUILDERS,), what=(UNITS,), how=(INSTANCES, INTERACTIVE), when=(AFTER,),
            where=(DOMAINS,),
        ),
    ),
    Approach(
        "agreement",
        "Agreement and controls",
        {
            "why": "methods are compared with each other and with maps that know nothing",
            "who": "it is a check for those who choose the method",
            "what": "one number for each pair of maps, over several photographs",
            "how": "the photographs on which methods part are the ones to look at",
            "when": "maps of a finished network are compared",
            "where": "a question of the research itself: what is an explanation worth?",
        },
        ("xai/comparison.py", "xai/metrics/agreement.py", "xai/compute/controls.py"),
        "compare",
        ("random", "center", "edges"),
    ),
    Approach(
        "clusters",
        "Clusters",
        {
            "why": "pictures are grouped without labels, and what a group has in common is asked afterwards",
            "who": "whoever trains the clustering, and whoever has to trust its groups",
            "what": "positions of pictures in a learned space, and whole groups of them",
            "how": "the space is drawn in two dimensions, and each group is shown by its typical members",
            "when": "the space is watched while it is learned, the groups once they stand",
            "where": "image collections without labels",
        },
        ("xai/scan",),
        "clusters",
        own=categories(
            why=(INTERPRET, DEBUG), who=(BUILDERS, USERS), what=(SPACE, AGGREGATED), how=(SCATTER, INSTANCES),
            when=(DURING, AFTER), where=(DOMAINS,),
        ),
    ),
)  # fmt: skip

APPROACHES: Mapping[str, Approach] = MappingProxyType({approach.key: approach for approach in _ENTRIES})

# What the whole project is for: the table "Question | Criterion | Explanation".
PROJECT: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "why": (
            (INTERPRET, "maps, filters and concepts say what an answer rests on"),
            (DEBUG, "wrong answers, silent channels and attacks show where the network fails"),
            (COMPARE, "the same questions are put to several networks and by several methods, on one scale"),
            (TEACH, "every page and notebook asks one question and answers it while sliders move"),
        ),
        "who": (
            (BUILDERS, "the library, the commands and the training explain networks of one's own"),
            (USERS, "the notebooks and this report say what a ready-made network can be trusted with"),
            (NON_EXPERTS, "the app opens on a photograph and needs no line of code"),
        ),
        "what": (
            (PARAMETERS, "the kernels of every convolution"),
            (UNITS, "activations and gradients of single channels and pixels"),
            (SPACE, "concepts are directions in the space of a layer"),
            (AGGREGATED, "agreement, accuracy and cost, over photographs and classes"),
        ),
        "how": (
            (LINES, "loss and accuracy while a network is trained, objective while a picture is found"),
            (INSTANCES, "single photographs are followed, right and wrong answers side by side"),
            (INTERACTIVE, "sliders for layer, channel, class and size of an attack redraw at once"),
            (ATTRIBUTION, "26 methods lay an answer on the pixels, and pictures are made that excite a unit"),
        ),
        "when": (
            (DURING, "training writes its curves and can be stopped, judged and taken up again"),
            (AFTER, "all explanations are of a finished network, which they leave as it is"),
        ),
        "where": (
            (DOMAINS, "image classification with convolutional networks"),
            (COMMUNITY, "an open repository for teaching, in which every figure can be made again"),
        ),
    }
)
