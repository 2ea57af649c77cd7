"""Metrics of saliency maps: pure batched functions on tensors, each naming the published variant it implements."""

from protomask.metrics.attack import misalignment, move_evidence, outside_box, outside_top
from protomask.metrics.boxes import box_iou_curves, max_box_accuracy
from protomask.metrics.causal import (
    causal_insertion,
    causal_overlap,
    part_importance,
    part_mass,
    rank_correlation,
    top_part_hit,
)
from protomask.metrics.classification import auroc, average_precision
from protomask.metrics.faithfulness import (
    Curve,
    average_drop,
    average_gain,
    deletion,
    increase_in_confidence,
    insertion,
    kept_by_first,
    masked_scores,
    minmax,
    region_deletion,
    relative_gain,
    relative_to_whole,
    rise_blur,
)
from protomask.metrics.harmonic import adcc, coherency, complexity
from protomask.metrics.imputation import impute, road
from protomask.metrics.infidelity import infidelity
from protomask.metrics.localization import (
    box_regions,
    energy_pointing,
    mean_per_class,
    outside_inside_ratio,
    outside_share,
    pointing_game,
    top_share_on_object,
)
from protomask.metrics.magnitude import mas_deletion, mas_insertion
from protomask.metrics.part_points import (
    add_noise,
    consistency,
    merge_sides,
    parts_at_maximum,
    parts_in_patch,
    purity,
    stability,
)
from protomask.metrics.prototype_sets import comprehensiveness, discrimination, distinctiveness, explanation_size
from protomask.metrics.prototypes import fidelity, relevance_ordering
from protomask.metrics.sanity import map_correlation, randomise_parameters
from protomask.metrics.segmentation import at_best_threshold, dice, dice_curves, iou, iou_curves
from protomask.metrics.simplicity import map_entropy, sparseness
from protomask.metrics.steadiness import max_sensitivity, nearby, shared_first, with_unseen_noise

__all__ = [
    "Curve",
    "adcc",
    "at_best_threshold",
    "parts_at_maximum",
    "auroc",
    "average_drop",
    "average_gain",
    "average_precision",
    "box_iou_curves",
    "box_regions",
    "causal_insertion",
    "causal_overlap",
    "coherency",
    "complexity",
    "comprehensiveness",
    "consistency",
    "deletion",
    "dice",
    "dice_curves",
    "discrimination",
    "distinctiveness",
    "energy_pointing",
    "explanation_size",
    "fidelity",
    "impute",
    "parts_in_patch",
    "increase_in_confidence",
    "infidelity",
    "insertion",
    "iou",
    "iou_curves",
    "kept_by_first",
    "masked_scores",
    "map_correlation",
    "map_entropy",
    "mas_deletion",
    "mas_insertion",
    "max_box_accuracy",
    "max_sensitivity",
    "mean_per_class",
    "merge_sides",
    "minmax",
    "misalignment",
    "move_evidence",
    "nearby",
    "add_noise",
    "outside_box",
    "outside_inside_ratio",
    "outside_share",
    "outside_top",
    "part_importance",
    "part_mass",
    "pointing_game",
    "purity",
    "randomise_parameters",
    "rank_correlation",
    "region_deletion",
    "relative_gain",
    "relative_to_whole",
    "relevance_ordering",
    "rise_blur",
    "road",
    "shared_first",
    "sparseness",
    "stability",
    "top_part_hit",
    "top_share_on_object",
    "with_unseen_noise",
]
