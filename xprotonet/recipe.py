"""How XProtoNet is built from options and trained. There is no official code, so there is one recipe, ours."""

from __future__ import annotations

from protomask.backbones import backbone_from
from protomask.errors import InputError
from protomask.options import CompleteOptions, Options
from protomask.plans import FROZEN_EPOCHS, joint_and_settle, require_frozen
from protomask.training import Action, Epochs
from protomask.training.last_layer import fit_last_layer
from protomask.training.stages import bias_rate
from xprotonet.losses import XProtoNetLoss
from xprotonet.model import XProtoNet


def defaults(options: Options) -> dict:
    """Give values for the options that are still None.

    Raises:
        InputError: an option that XProtoNet does not have is set; a frozen backbone without trained weights, or with a
            learning rate.
    """
    if options.recipe == "official":
        raise InputError("recipe is official: XProtoNet's authors published no code; use recipe=default or frozen")
    if options.similarity != "cosine":
        raise InputError(
            f"similarity is {options.similarity}: XProtoNet compares by cosine alone; use similarity=cosine"
        )
    if options.prototype_size != 1:
        raise InputError(
            f"prototype_size is {options.prototype_size}: XProtoNet's prototypes are pooled vectors without a size; "
            "leave the option out"
        )
    if options.recipe == "frozen":
        require_frozen(options)
    epochs = FROZEN_EPOCHS if options.recipe == "frozen" else 20
    return {"evidence": "positive", "prototypes_per_class": 5, "batch_size": 32, "epochs": epochs}


def build(options: CompleteOptions, classes: tuple[str, ...], multi_label: bool = False) -> XProtoNet:
    """Build a new network; its backbone has the weights that the options name."""
    return XProtoNet(
        backbone_from(options),
        classes,
        image_size=options.image_size,
        prototypes_per_class=options.prototypes_per_class,
        channels=options.prototype_channels,
        multi_label=multi_label,
        evidence=options.evidence or "signed",
    )


rebuild = XProtoNet.from_settings


def stages(network: XProtoNet, options: CompleteOptions) -> list[Epochs | Action]:
    """Make the stages: joint, projection, settle, projection, last layer.

    As our ProtoPNet: AdamW with warm-up and a cosine, label smoothing, coverage, discrimination and diversity; in the
    second half of the epochs ("settle") prototypes rest on the features they were projected to while everything else
    learns around them, so that the last projection hardly moves them. The occurrence terms are the relative ones, which
    shrinking the maps cannot cheat, the costly one on a quarter of each batch.

    ``options.recipe="frozen"``: the same above a backbone that does not learn, without the transformation term, which
    needs the images.
    """
    pretrained, rests = bool(options.weights or options.pretrained), options.recipe == "frozen"
    loss = XProtoNetLoss(
        separation=0.0,
        coverage=1.0,
        discrimination=1.0,
        diversity=1.0,
        label_smoothing=0.1,
        relative=True,
        size=0.05,
        share=0.25,
        transformation=0.0 if rests else 0.5,
    )
    head = {"add_on": 3e-3, "occurrence": 3e-3, "prototypes": 3e-3, **bias_rate(network)}
    if rests:
        joint = head
    else:
        joint = {"backbone": 2e-4, **dict.fromkeys(head, 1e-3)} if pretrained else {"backbone": 3e-3, **head}
    decay = {"backbone": 0.05, "add_on": 0.05, "occurrence": 0.05}
    plan: list[Epochs | Action] = []
    if pretrained and not rests:
        plan.append(Epochs("warm", max(1, options.epochs // 8), loss, head, decay))
    return [
        *plan,
        *joint_and_settle(options.epochs, loss, joint, decay),
        Action("last layer", lambda network, setup: fit_last_layer(network, setup, l1=1e-4)),
    ]
