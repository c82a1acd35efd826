"""Traps of this field that others fell into, and the tests that keep this project out of each.

TRAPS is the map: what goes wrong elsewhere, and where it is tested here. Traps that no other file covers are tested
below. A name that no longer exists fails, so the map stays true.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import ResidualNet, seeded
from torch import nn

import xai
from xai.training.augmentation import training_view
from xai.training.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent

TRAPS = {
    # Libraries
    "captum's DeepLIFT and guided rules fail where one ReLU module is used several times (every torchvision ResNet)": (
        "test_prepare::test_every_call_has_a_relu_of_its_own",
        "test_prepare::test_stock_networks",
        "test_gradients::test_deep_lift_adds_up_on_stock_networks",
    ),
    "a DeepLIFT rule that keeps the plain gradient is (x - baseline) times gradient and does not add up": (
        "test_gradients::test_deep_lift_adds_up",
        "test_gradients::test_deep_lift_shap_adds_up",
        "test_gradients::test_deep_lift_equals_its_matrices",
    ),
    "GradientSHAP and relatives without inner batches run out of memory": (
        "test_gradients::test_chunks_are_bounded_in_pixels_and_pictures",
        "test_gradients::test_chunks_do_not_matter",
        "test_perturbation::test_pictures_are_scored_in_small_batches",
        "test_cam_variants::test_a_pass_is_bounded_in_bytes",
    ),
    "maps scaled to [0, 1] inside the method cannot be compared between images or classes": (
        "test_registry::test_maps_are_raw_and_grow_with_the_scores",
        "test_cam::test_raw_values_are_kept",
        "test_charts::test_overlay_row_starts_with_the_picture_and_shares_one_scale",
        "test_app::test_compared_classes_share_one_scale",
    ),
    "a CAM runs backward through the whole network, once more for each class": (
        "test_trace::test_nothing_runs_again_for_another_layer_or_class",
    ),
    "the figure of a factorisation crashes with current Matplotlib": (
        "test_concepts::test_figure_shows_pictures_concepts_and_legend",
    ),
    "slic numbers superpixels from 1, so that LIME never hides the last and feature 0 means nothing": (
        "test_segments::test_slic_of_the_library_starts_at_1_and_ours_at_0",
        "test_segments::test_labels_run_from_0_without_gaps",
        "test_lime::test_only_the_superpixel_that_is_read_counts_also_the_last_of_slic",
    ),
    "pictures as floats in 0..255 are cut into ten times as many superpixels as bytes": (
        "test_segments::test_bytes_and_floats_are_cut_alike",
        "test_segments::test_floats_beyond_1_are_refused",
    ),
    "LIME without progress or a way to stop, and with a ranking that is not stable": (
        "test_lime::test_progress_is_told_with_maps_on_the_way_and_can_stop_the_work",
        "test_lime::test_auto_stops_early_and_ranks_like_the_converged_run",
        "test_lime::test_standard_errors_say_how_seeds_differ",
    ),
    "LIME asked for a picture with the rest shown only draws outlines: nothing is hidden": (
        "test_masking::test_masked_pixels_equal_the_fill_and_all_others_the_picture",
        "test_superpixels::test_hiding_the_rest_leaves_the_kept_pixels_and_no_others",
    ),
    "a dependency forces its licence on the project": (
        "test_environment::test_no_core_package_forces_its_licence_on_ours",
    ),
    "one random view is drawn for a whole batch": ("test_traps::test_pictures_of_one_batch_get_views_of_their_own",),
    "every backward pass pays for gradients of weights that nobody reads; the slow memory layout": (
        "test_traps::test_weights_are_frozen_and_in_the_fast_layout",
        "test_registry::test_every_method_keeps_the_contract",
    ),
    # Explanations
    "methods that are one formula at a layer are taken for methods that agree": (
        "test_cam::test_the_two_methods_and_cam_agree_at_the_last_stage_up_to_the_number_of_places",
        "test_cam::test_the_two_methods_differ_before_the_last_stage",
        "test_comparison::test_methods_that_must_coincide_are_named_where_they_do",
        "test_comparison::test_x_grad_cam_too_is_grad_cam_where_gradients_are_flat_and_activations_positive",
        "test_comparison::test_two_layers_that_hand_on_one_output_say_the_same",
    ),
    "'feature maps' that come from chaining the convolutions": (
        "test_inspection::test_maps_equal_a_hooked_forward_and_not_chained_convolutions",
    ),
    "class indices of ImageNet that are off": (
        "test_explanation::test_imagenet_names",
        "test_traps::test_the_ten_classes_of_imagenette_have_their_indices",
    ),
    "red and blue swapped, or a map of zeros that colours the picture": (
        "test_cli::test_a_zero_map_leaves_a_red_picture_red_and_warns",
        "test_cli::test_colours_are_not_swapped",
        "test_figures::test_zero_map_leaves_every_picture_unchanged",
    ),
    "a wrong deviation, or none, when pixels are normalised": (
        "test_geometry::test_normalisation_is_inside_the_network_and_can_be_undone",
    ),
    # Streamlit and notebooks
    "hooks on a cached network are a race between sessions": (
        "test_trace::test_eight_threads_on_one_classifier_equal_serial_runs",
        "test_trace::test_eight_threads_may_ask_one_trace",
        "test_registry::test_threads_get_the_serial_results",
    ),
    "pyplot's figures are shared by all sessions": (
        "test_figures::test_figures_import_neither_torch_nor_pyplot_nor_streamlit",
        "test_traps::test_the_package_never_uses_what_others_regretted",
    ),
    "AppTest's three seconds are too short for a first import of torch": (
        "test_traps::test_every_page_test_waits_long_enough",
    ),
    "a notebook cannot import the package, shows no figures, or loads scripts from the network": (
        "test_notebooks::test_stored_notebook_keeps_the_rules",
        "test_notebooks::test_page_is_self_contained_and_readable",
        "test_notebooks::test_export_refuses_what_a_page_must_not_have",
    ),
    "a slow method keeps its processor after Stop, or keeps others waiting": (
        "test_jobs::test_a_job_shows_how_far_it_is_and_stops_within_a_second",
        "test_jobs::test_another_session_is_served_while_one_waits_and_stop_ends_the_thread",
        "test_browser::test_a_slow_method_stops_within_a_second",
    ),
    # Defects of earlier programs of this kind
    "importing needs a configuration file in the working directory": (
        "test_traps::test_importing_needs_no_file_in_the_working_directory",
    ),
    "labels are downloaded and evaluated as code; weights are unpickled": (
        "test_traps::test_the_package_never_uses_what_others_regretted",
        "test_weights::test_code_in_a_pickle_is_refused_and_never_run",
    ),
    "the command for activations crashes": ("test_cli::test_feature_maps_of_all_stages_are_written_with_tables",),
    "CUDA only": (
        "test_load::test_devices_come_as_names_or_torchs_own",
        "test_traps::test_the_package_never_uses_what_others_regretted",
    ),
    "an upload is opened by its name and not by its bytes": ("test_app::test_upload_is_used_and_has_no_link",),
    "the page names another network than the one in use": (
        "test_app::test_page_runs_alone_and_says_that_the_network_is_untrained",
        "test_app::test_link_command_and_cell_are_the_runspec",
    ),
    "the environment cannot be installed or lacks a package": (
        "test_environment::test_every_import_is_declared",
        "test_environment::test_pins_are_complete_consistent_and_nothing_more",
        "test_environment::test_conda_installs_the_pins_and_the_package",
    ),
}


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("trap", TRAPS)
def test_every_trap_has_tests_that_exist(trap: str) -> None:
    missing = [name for name in TRAPS[trap] if name.partition("::")[2] not in names_in(name.partition("::")[0])]
    assert TRAPS[trap] and not missing


def test_pictures_of_one_batch_get_views_of_their_own() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    generators = np.random.default_rng(1).spawn(6)
    views = [training_view(picture, 24, Recipe(size=24), generator) for generator in generators]
    assert len({view.tobytes() for view in views}) == 6


def test_weights_are_frozen_and_in_the_fast_layout() -> None:
    model = xai.load_model(seeded(ResidualNet), input_size=32)
    xai.explain(model, np.zeros((40, 40, 3), np.uint8), "integrated_gradients", target=0, steps=2)
    for parameter in model.network.parameters():
        assert not parameter.requires_grad and parameter.grad is None
    kernels = [module.weight for module in model.network.modules() if isinstance(module, nn.Conv2d)]
    assert kernels and all(each.is_contiguous(memory_format=torch.channels_last) for each in kernels)


def test_the_ten_classes_of_imagenette_have_their_indices() -> None:
    model = xai.load_model("squeezenet1_1", weights=None, input_size=64)
    names = ("tench", "English springer", "cassette player", "chain saw", "church", "French horn", "garbage truck")
    names += ("gas pump", "golf ball", "parachute")
    assert [model.find_class(name) for name in names] == [0, 217, 482, 491, 497, 566, 569, 571, 574, 701]


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_the_package_never_uses_what_others_regretted() -> None:
    files = [*(ROOT / "xai").rglob("*.py"), *(ROOT / "pages").glob("*.py"), ROOT / "app.py"]
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for name, call in calls(tree):
            assert name not in ("eval", "exec", "pickle.load", "pickle.loads"), f"{file.name}: {name}"
            trains = {"training", "scan"} & set(file.parts)
            assert not name.endswith((".cuda", ".zero_grad")) or trains, f"{file.name}: {name}"
            if name == "torch.load":
                assert "weights_only=True" in ast.unparse(call), file.name
        imported = [n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names]
        imported += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert "matplotlib.pyplot" not in imported and "cv2" not in imported, file.name


def test_every_page_test_waits_long_enough() -> None:
    seen = 0
    for file in (ROOT / "tests").glob("test_*.py"):
        for name, call in calls(ast.parse(file.read_text(encoding="utf-8"))):
            if name in ("AppTest.from_file", "AppTest.from_function", "AppTest.from_string"):
                limits = [each.value for each in call.keywords if each.arg == "default_timeout"]
                assert [ast.literal_eval(limit) >= 30 for limit in limits] == [True], file.name
                seen += 1
    assert seen > 5


def test_importing_needs_no_file_in_the_working_directory(tmp_path: Path) -> None:
    code = "import xai, xai.cli, xai.io.images, xai.spec; print(sorted(xai.load_image('cat').size))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("["), done.stderr
    assert not list(tmp_path.iterdir())
