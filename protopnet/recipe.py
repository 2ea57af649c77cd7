"""How ProtoPNet is built from options and trained: the ``official`` schedule, and a ``default`` one of our own."""

from __future__ import annotations

from protomask.backbones import backbone_from
from protomask.options import CompleteOptions, Options
from protomask.plans import FROZEN_EPOCHS, joint_and_settle, require_frozen
from protomask.projection import project
from protomask.training import Action, Epochs
from protomask.training.last_layer import fit_last_layer
from protomask.training.stages import bias_rate, steps
from protopnet.linear_similarity import refuse_linear_similarity
from protopnet.losses import ProtoPNetLoss
from protopnet.model import ProtoPNet
from protopnet.official import import_network
from protopnet.replacement import replace_common
from protopnet.start import start_from_data

REPLACEMENTS = 4
"""times in the joint stage, the last at its end, that prototypes on what every image has are replaced"""


def defaults(options: Options) -> dict:
    """Give values for the options that are still None.

    Raises:
        InputError: a frozen backbone without trained weights, or with a learning rate.
    """
    if options.recipe == "official":
        # The official settings say 1000 epochs, but the rates have fallen to nothing long before 31.
        return {"prototypes_per_class": 10, "batch_size": 80, "epochs": 31, "evidence": "signed"}
    if options.recipe == "frozen":
        require_frozen(options)
    epochs = FROZEN_EPOCHS if options.recipe == "frozen" else 20
    return {"evidence": "positive", "prototypes_per_class": 5, "batch_size": 32, "epochs": epochs}


def build(options: CompleteOptions, classes: tuple[str, ...], multi_label: bool = False) -> ProtoPNet:
    """Build a new network; its backbone has the weights that the options name."""
    return ProtoPNet(
        backbone_from(options),
        classes,
        image_size=options.image_size,
        prototypes_per_class=options.prototypes_per_class,
        channels=options.prototype_channels,
        patch=options.prototype_size,
        similarity=options.similarity,
        multi_label=multi_label,
        evidence=options.evidence or "signed",
    )


rebuild = ProtoPNet.from_settings
import_official = import_network
check_official = refuse_linear_similarity


def stages(network: ProtoPNet, options: CompleteOptions) -> list[Epochs | Action]:
    """Make the stages of ``options.recipe``."""
    return (official if options.recipe == "official" else default)(network, options)


def default(network: ProtoPNet, options: CompleteOptions) -> list[Epochs | Action]:
    """Make our stages: joint, projection, settle, projection, last layer in closed loop.

    Against the official schedule: AdamW with warm-up and a cosine instead of steps; label smoothing; with a pretrained
    backbone, an add-on that starts as principal components and prototypes that start as patches of their class; a
    coverage term that keeps all prototypes near data, so that the projection moves little; for the cosine, in the place
    of the separation, a discrimination term that keeps every prototype from what other classes have, too, and a
    diversity term; replacement of prototypes that are on it all the same; a second half of the epochs ("settle") in
    which prototypes rest on the distinct patches they were projected to while the features learn around them, so that
    the last projection hardly moves anything; a last layer that is fitted in seconds.

    ``options.recipe="frozen"``: the same above a backbone that does not learn.
    """
    pretrained, rests = bool(options.weights or options.pretrained), options.recipe == "frozen"
    if network.similarity_kind == "cosine":
        loss = ProtoPNetLoss(separation=0.0, coverage=1.0, discrimination=1.0, diversity=1.0, label_smoothing=0.1)
    else:
        loss = ProtoPNetLoss(coverage=1.0, label_smoothing=0.1)
    head = {"add_on": 3e-3, "prototypes": 3e-3, **bias_rate(network)}
    joint = head if rests else {"backbone": 2e-4 if pretrained else 3e-3, **head}
    decay = {"backbone": 0.05, "add_on": 0.05}
    plan: list[Epochs | Action] = []
    if pretrained:
        plan.append(Action("start", start_from_data))
    if pretrained and not rests:
        plan.append(Epochs("warm", max(1, options.epochs // 8), loss, head, decay))
    return [
        *plan,
        *joint_and_settle(options.epochs, loss, joint, decay, Action("replacement", replace_common), REPLACEMENTS),
        Action("last layer", lambda network, setup: fit_last_layer(network, setup, l1=1e-4)),
    ]


def official(network: ProtoPNet, options: CompleteOptions) -> list[Epochs | Action]:
    """Make the stages of cfchen-duke/ProtoPNet (known).

    5 warm epochs; joint with the rates falling tenfold every 5 epochs; from epoch 10 on, every 10 epochs, a
    projection and 20 passes over the last layer.

    ``options.epochs`` counts warm and joint epochs, as in the official code. With positive evidence (ours) each step on
    the last layer ends where that allows it.
    """
    loss, last = ProtoPNetLoss(), ProtoPNetLoss(part="last")
    head = {"add_on": 3e-3, "prototypes": 3e-3, **bias_rate(network)}
    decay = {"backbone": 1e-3, "add_on": 1e-3}
    done = min(5, options.epochs)
    plan: list[Epochs | Action] = [Epochs("warm", done, loss, head, decay, optimizer="adam")]
    # Official epochs count from 0 and project after epoch 10, 20, ...: after 11, 21, ... passes. We also project
    # at the end.
    for until in sorted({*range(11, options.epochs + 1, 10), options.epochs}):
        plan.append(
            Epochs(
                "joint",
                until - done,
                loss,
                {"backbone": 1e-4, **head},
                decay,
                optimizer="adam",
                schedule=steps(5, ahead=1),
            )
        )
        plan.append(Action("projection", project))
        plan.append(Epochs("last layer", 20, last, {"last_layer": 1e-4}, optimizer="adam"))
        done = until
    return plan
