"""Labels, one-sentence explanations, and how names and numbers are written, for figures and report."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable

LOCALIZERS = {
    "mdm": "MDM",
    "hdm": "HDM",
    "mdm-published": "MDM as published",
    "hdm-published": "HDM as published",
    "neuromask": "NeuroMask",
    "similarity": "Similarity map",
    "distilled": "Distilled mask",
    "random": "Random",
    "center": "Centre",
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "layercam": "LayerCAM",
    "score-cam": "Score-CAM",
    "rise": "RISE",
    "occlusion": "Occlusion",
    "integrated-gradients": "Integrated gradients",
    "smoothgrad": "SmoothGrad",
    "lrp": "Relevance propagation (LRP)",
    "prp": "Prototypical relevance (PRP)",
    "attention-rollout": "Attention rollout",
    "chefer": "Transformer attribution (Chefer)",
    "receptive-field": "Receptive field",
    "meaningful": "Meaningful perturbation",
    "extremal": "Extremal perturbation",
    "igos": "iGOS++",
}

SHOWS = {
    "mdm": "The learned mask is the smallest mask that was found to keep {score} when everything outside it is hidden. "
    "It shows where the evidence is enough, not which property of it (colour, texture, shape) counts; another region "
    "may do as well.",
    "similarity": "The similarity map is the prototype's similarity to each cell of the network's last feature map, "
    "enlarged to the image. A cell has seen far more of the image than the square it is drawn on, so the map can lie "
    "beside the evidence.",
    "receptive-field": "The similarity map, each cell spread over the part of the image that it mostly depends on.",
    "hdm": "Coarse masks find what keeps {score}, fine ones refine them; what was found is hidden and the search goes "
    "on with the rest, until little is left of it. The map joins all that was found, the most important first.",
    "neuromask": "One learned mask of full resolution that keeps {score}, held small and smooth by penalties.",
    "distilled": "A small network draws in one pass what a learned mask would show. It learned that from such masks of "
    "other images, and can be wrong where it met nothing alike.",
    "meaningful": "The smallest smooth region whose blurring takes {score} away: what the network could not do "
    "without.",
    "extremal": "Smooth masks of fixed areas that keep {score} as high as these areas allow, added up.",
    "igos": "The region whose blurring takes {score} away, and which brings it back when all else stays blurred, "
    "learned along the way from the blurred image to the whole one.",
    "gradcam": "The channels of the network's last feature map, each weighted by how much {score} rises with it, added "
    "up and enlarged to the image. It shows what the network had in view there, not what would suffice.",
    "gradcam++": "As Grad-CAM, each channel weighted by the places alone at which {score} rises with it. It shows what "
    "the network had in view there, not what would suffice.",
    "layercam": "As Grad-CAM, but each place of a channel has a weight of its own. It shows what the network had in "
    "view there, not what would suffice.",
    "score-cam": "The channels of the network's last feature map, each weighted by what is left of {score} when only "
    "what the channel marks is shown.",
    "rise": "The image is shown through many random masks. A place is bright if {score} was high, on average, when it "
    "was seen.",
    "occlusion": "A place is bright if {score} falls when a square there is hidden.",
    "integrated-gradients": "How much each pixel changes {score} along the way from an empty image to this one. It "
    "shows what was added up, not what would suffice.",
    "smoothgrad": "How strongly {score} reacts to a small change of each pixel, averaged over noisy copies of the "
    "image.",
    "attention-rollout": "How much attention each patch gets, over all layers of the Transformer. It does not look at "
    "the answer, and is the same for every class.",
    "chefer": "The attention that each patch gets, over all layers of the Transformer, where {score} rises with it.",
    "lrp": "The score is handed back from layer to layer down to the pixels, each layer sharing what it gets among its "
    "inputs, so that the pixels' shares sum to the score. It shows what was added up, not what would suffice.",
    "prp": "The similarity is handed back from layer to layer down to the pixels, each layer sharing what it gets "
    "among its inputs, so that the pixels' shares sum to the similarity. It shows what was added up, not what would "
    "suffice.",
    "random": "A random map: what a method that knows nothing scores.",
    "center": "A blob in the middle of the image: what a method that knows only where photographers aim scores.",
}
"""what each localizer's map is; ``{score}`` stands for what is explained, see :func:`shows`"""
OCCURRENCE = (
    "The similarity map is here the prototype's occurrence map: how much each cell of the network's last feature map "
    "counts when the image is compared with the prototype, enlarged to the image. It says where the prototype is "
    "looked for, not how similar that place is."
)
"""what the similarity map is where prototypes are pooled"""
SCORES = {"prototypes": "the prototype's similarity", "classes": "the class's probability"}

# name: (label, unit, one sentence); the direction comes with the evaluation
METRICS = {
    "insertion": (
        "Insertion",
        "",
        "Starting from a blurred image, pixels come back in the order of the map; the area under the "
        "curve of the score is large if the first pixels already restore it.",
    ),
    "deletion": (
        "Deletion",
        "",
        "Pixels are removed in the order of the map; the area under the curve of the score is small if the "
        "first pixels removed already destroy it.",
    ),
    "average_drop": ("Average drop", "%", "How much of the score is lost when only what the map marks is kept."),
    "increase": (
        "Increase in confidence",
        "%",
        "Share of cases whose score rises when only what the map marks is kept.",
    ),
    "gain": (
        "Gain",
        "%",
        "By how much the score rises, on average, when only what the map marks is kept; falls count as zero.",
    ),
    "region_deletion": (
        "Deletion of regions",
        "",
        "Deletion, a small square at a time: pixels that are taken out one by one scatter the image with dots, which "
        "takes a class away wherever they are.",
    ),
    "kept_first": (
        "Kept by the first 15 %",
        "",
        "Share of the score, at most 1, that the first 15 % of the pixels keep alone, in front of the blurred image.",
    ),
    "judge_insertion": (
        "Insertion, second network",
        "",
        "The same on a second network: does it, too, find the class early while the image appears?",
    ),
    "judge_deletion": (
        "Deletion, second network",
        "",
        "The same on a second network: does it, too, lose the class early while the image disappears?",
    ),
    "judge_region_deletion": (
        "Deletion of regions, second network",
        "",
        "The same on a second network.",
    ),
    "judge_kept": (
        "Kept, second network",
        "",
        "Share of a second network's probability, at most 1, that the first 15 % of the pixels keep alone.",
    ),
    "road": (
        "ROAD",
        "",
        "Removed pixels become a blend of their neighbours, which leaves no trace. How much more of the score is lost "
        "with the first pixels of the map than with the last, halved.",
    ),
    "mas_insertion": (
        "Insertion by magnitude",
        "",
        "Insertion, less its distance from the share of the map that is back: large if the map's values, and not only "
        "their order, follow the score.",
    ),
    "mas_deletion": (
        "Deletion by magnitude",
        "",
        "Deletion, plus its distance from the share of the map that is left: small if the map's values, and not only "
        "their order, follow the score.",
    ),
    "infidelity": (
        "Infidelity",
        "",
        "Squares are hidden; how badly the map's sum in a square predicts the fall of the score. 0 is a perfect "
        "prediction, 1 says nothing.",
    ),
    "adcc": (
        "ADCC",
        "",
        "Harmonic mean of three wishes: little of the score is lost when only what the map marks is kept, the map "
        "marks little, and asked about what it marked the method marks the same again.",
    ),
    "relevance_ordering": (
        "Relevance ordering",
        "",
        "Pixels come into an empty image in the order of the map until half are there; mean share of the score.",
    ),
    "fidelity": (
        "Fidelity at the maximum",
        "",
        "Similarity left where it was greatest when the first 0.1 % to 2 % of the pixels are removed.",
    ),
    "misalignment": (
        "Spatial misalignment",
        "%",
        "How far an invisible change of all but the first tenth of the pixels can lower the score.",
    ),
    "pointing_box": (
        "Pointing game, box",
        "",
        "Share of maps whose maximum lies on the object's box, or so near it as 15 pixels are at 224 × 224.",
    ),
    "pointing_mask": (
        "Pointing game, object",
        "",
        "Share of maps whose maximum lies on the object, or so near it as 15 pixels are at 224 × 224.",
    ),
    "energy_box": (
        "Energy in the box",
        "",
        "Share of the map inside the object's box: on the object, which does not mean that the network used it.",
    ),
    "energy_mask": (
        "Energy on the object",
        "",
        "Share of the map on the object itself, which does not mean that the network used it.",
    ),
    "top_tenth": (
        "First tenth on the object",
        "",
        "Share of the most salient tenth of the pixels that lies on the object.",
    ),
    "outside_inside": (
        "Outside against inside",
        "",
        "How dense the map is outside the object, as a share of outside and inside together; 0.5 is a map that knows "
        "nothing.",
    ),
    "iou": (
        "IoU, fixed threshold",
        "",
        "Overlap of the object with what lies above the middle between the map's least and greatest value.",
    ),
    "iou_best": (
        "IoU, best threshold",
        "",
        "Overlap of the object with what exceeds the threshold that suits all images best.",
    ),
    "dice": (
        "Dice, fixed threshold",
        "",
        "Dice overlap of the object with what lies above the middle between the map's least and greatest value.",
    ),
    "dice_best": (
        "Dice, best threshold",
        "",
        "Dice overlap of the object with what exceeds the threshold that suits all images best.",
    ),
    "max_box": (
        "MaxBoxAccV2",
        "",
        "Share of images in which a box around the map's outline meets the object's, mean over overlaps of 0.3, 0.5 "
        "and 0.7, each at its best threshold.",
    ),
    "causal_overlap": (
        "Causal overlap",
        "",
        "How much of the map lies on the parts whose removal lowers the similarity, each in proportion to how much it "
        "does.",
    ),
    "causal_insertion": (
        "Causal insertion",
        "",
        "Parts are drawn into the scene in the order of the map; the area under the similarity is large if the first "
        "parts already restore it.",
    ),
    "consistency": (
        "Consistency",
        "%",
        "Share of prototypes whose map peaks at the same part in at least 80 % of the images that show it; one value "
        "per prototype.",
    ),
    "stability": (
        "Stability",
        "%",
        "Share of images in which faint noise does not move the peak to other parts; one value per prototype. A map "
        "that ignores the image is stable.",
    ),
    "purity": (
        "Purity",
        "",
        "Of a prototype's ten most similar images, how many have its best part within a small patch at the peak; one "
        "value per prototype.",
    ),
    "steadiness": (
        "Steadiness",
        "",
        "Rank correlation with the map of the same image under noise below half a grey level, which nobody can see.",
    ),
    "steady_tenth": (
        "Steady first tenth",
        "",
        "What the most salient tenth of the map shares with that of the same image under noise that nobody can see.",
    ),
    "max_sensitivity": (
        "Max-sensitivity",
        "",
        "How far the map moves at most, beside its own size, when the image is changed a little.",
    ),
    "random_logit": (
        "Another class",
        "",
        "Rank correlation with the map of another class's prototype in the same image; a map that stays the same shows "
        "the image, not the prototype.",
    ),
    "sparseness": (
        "Sparseness",
        "",
        "Gini index of the map: 0 where all pixels are alike, 1 where one has everything.",
    ),
    "complexity": ("Complexity", "", "Entropy of the map: 0 where one pixel has everything, 1 where all are alike."),
    "distinctiveness": (
        "Distinctiveness",
        "",
        "How little the places overlap at which the prototypes of one class look in the same image.",
    ),
    "comprehensiveness": (
        "Comprehensiveness",
        "",
        "Share of the object that the prototypes of its class cover together.",
    ),
    "explanation_size": (
        "Explanation size (PIP-Net)",
        "",
        "Prototypes with at least a hundredth of the decision's points; the same for every localizer.",
    ),
    "discrimination": (
        "Discrimination",
        "",
        "How well the prototype alone ranks images of its class above the others (area under the ROC curve); one value "
        "per prototype, the same for every localizer.",
    ),
    "randomisation": (
        "Parameter randomisation",
        "",
        "Rank correlation with the map of the same network with shuffled parameters; a map that stays the same shows "
        "the image, not the network.",
    ),
    "part_correlation": (
        "Causal part agreement",
        "",
        "Each scene is rendered again without each part; rank correlation between how "
        "far the similarity falls and how much of the map lay on the part. Here the true cause is the yardstick.",
    ),
    "top_part": (
        "Most important part",
        "",
        "Share of scenes in which the part that holds most of the map is the one whose removal costs most similarity.",
    ),
}

FAITHFUL = (
    "insertion",
    "deletion",
    "average_drop",
    "gain",
    "increase",
    "region_deletion",
    "kept_first",
    "judge_insertion",
    "judge_deletion",
    "judge_region_deletion",
    "judge_kept",
    "road",
    "mas_insertion",
    "mas_deletion",
    "infidelity",
    "adcc",
    "relevance_ordering",
    "fidelity",
    "misalignment",
    "part_correlation",
    "top_part",
    "causal_overlap",
    "causal_insertion",
)
"""metrics that ask whether the score follows the map; the others ask whether the map lies on the object"""

BASELINES = ("center", "random")
"""localizers that know nothing of the network"""

_NUMBER_PREFIX = re.compile(r"^\d+\.(?=[^\d\s])")


def localizer_label(name: str) -> str:
    """Label a localizer for readers; settings in brackets.

    >>> localizer_label("mdm:damping=1,seed=3")
    'MDM (damping=1, seed=3)'
    """
    base, _, settings = name.partition(":")
    return LOCALIZERS.get(base, base) + (f" ({', '.join(settings.split(','))})" if settings else "")


def shows(name: str, kind: str = "prototypes", pooled: bool = False) -> str:
    """Say in a sentence or two what a localizer's map is, of ``prototypes`` or of ``classes``; empty where unknown.

    ``pooled``: prototypes are not patches, but pooled under learned maps, as XProtoNet's.

    >>> shows("occlusion:window=32", "classes")
    "A place is bright if the class's probability falls when a square there is hidden."
    """
    base = name.partition(":")[0].removesuffix("-published")
    if base == "similarity" and pooled:
        return OCCURRENCE
    return SHOWS.get(base, "").replace("{score}", SCORES[kind])


def spoken(name: str) -> str:
    """Name a localizer within a sentence."""
    return {"similarity": "the similarity map", "center": "a blob in the centre", "random": "a random map"}.get(
        name, localizer_label(name)
    )


def whole_map(name: str) -> str:
    """Name all of a localizer's map within a sentence.

    >>> whole_map("mdm"), whole_map("similarity")
    ('the whole MDM map', 'the whole similarity map')
    """
    words = spoken(name)
    own = words.startswith(("the ", "a "))
    return f"the whole {words.split(' ', 1)[1]}" if own else f"the whole {words} map"


def metric_label(name: str) -> str:
    return METRICS[name][0] if name in METRICS else name.replace("_", " ").capitalize()


def metric_unit(name: str) -> str:
    return METRICS[name][1] if name in METRICS else ""


def metric_sentence(name: str) -> str:
    return METRICS[name][2] if name in METRICS else ""


def readable(class_name: str | None) -> str:
    """Write a folder's name as a person would: ``001.Black_footed_Albatross`` becomes ``Black footed Albatross``."""
    if class_name is None:
        return ""
    class_name = class_name.encode("utf-8", "replace").decode("utf-8")  # names of folders may be no UTF-8
    text = _NUMBER_PREFIX.sub("", class_name).replace("_", " ").strip()
    return text or class_name


Namer = Callable[[str | None], str]
"""gives a class's name as it is shown"""


def readable_all(classes: Iterable[str]) -> Namer:
    """Name classes by :func:`readable`, except that those which would get the same name keep their own.

    >>> names = readable_all(["001.Arctic_tern", "002.Arctic_tern", "003.Black_tern"])
    >>> names("001.Arctic_tern"), names("003.Black_tern")
    ('001.Arctic_tern', 'Black tern')
    """
    known = set(classes)
    short = {name: " ".join(readable(name).split()) for name in known}  # a page shows several blanks as one
    times = Counter(short.values())
    alike = {name for name in known if times[short[name]] > 1}

    def named(name: str | None) -> str:
        if name not in alike:
            return readable(name)
        return name.encode("utf-8", "backslashreplace").decode("utf-8")  # which tells names apart that are no UTF-8

    return named


def number(value: float | None, digits: int = 2) -> str:
    """Write fixed digits, a true minus sign, an en dash for what was not measured; never "-0.00"."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def percent(share: float | None, digits: int = 1) -> str:
    return "–" if share is None else f"{number(100 * share, digits)}\N{NO-BREAK SPACE}%"


def certainty(probability: float, digits: int = 1) -> str:
    """Write a probability as a share; none is certain, and nothing impossible.

    >>> certainty(0.99996), certainty(0.5), certainty(0.0001), certainty(0.996, digits=0)
    ('> 99.9\\xa0%', '50.0\\xa0%', '< 0.1\\xa0%', '> 99\\xa0%')
    """
    step = 10 ** -(digits + 2)
    if probability > 1 - step / 2:
        return f"> {percent(1 - step, digits)}"
    return f"< {percent(step, digits)}" if probability < step / 2 else percent(probability, digits)


def chance(probability: float, digits: int = 3) -> str:
    """Write a probability as a number for plain text, as cautiously as :func:`certainty`.

    >>> chance(0.99996), chance(0.912), chance(0.0001)
    ('> 0.999', '0.912', '< 0.001')
    """
    step = 10**-digits
    if probability > 1 - step / 2:
        return f"> {1 - step:.{digits}f}"
    return f"< {step:.{digits}f}" if probability < step / 2 else f"{probability:.{digits}f}"


def duration(seconds: float | None) -> str:
    """Write seconds: ``0.04`` -> "40 ms", ``95`` -> "1 min 35 s", ``7300`` -> "2 h 2 min"."""
    if seconds is None:
        return "–"
    if seconds < 0.1:
        return f"{1000 * seconds:.{0 if seconds >= 0.01 else 2}{'f' if seconds >= 0.01 else 'g'}} ms"
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def accuracy_of_images(findings: bool) -> str:
    """Name the share of test images that are answered rightly, as counted image by image.

    >>> accuracy_of_images(True)
    'share of test images with all findings right'
    """
    return "share of test images with all findings right" if findings else "test accuracy"


def count(number_of: int, one: str, many: str | None = None) -> str:
    return f"{number_of} {one if number_of == 1 else many or one + 's'}"


def listed(words: list[str]) -> str:
    """Join words: ``a``, ``a and b``, ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "nothing"


def shorten(text: str, length: int) -> str:
    """Shorten ``text`` to ``length`` characters by an ellipsis in its middle; names often differ at both ends."""
    if len(text) <= length:
        return text
    head = length // 2
    return f"{text[:head].rstrip()}…{text[len(text) - (length - 1 - head) :].lstrip()}"
