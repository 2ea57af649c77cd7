"""What each JSON file of a run's folder holds; keys that are not named here may stand beside."""

from __future__ import annotations

from typing import Any

from protomask.schema import Annotated, Range, Required, TypedDict

Share = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(0, 2**53)]
Seconds = Annotated[float, Range(0)]


class Data(TypedDict, total=False):
    fingerprint: Any
    contents: dict[str, str]
    weights: str
    multi_label: bool
    classes: Count
    train: Count
    validation: Count
    test: Count


class Config(TypedDict, total=False):
    options: Required[dict[str, Any]]
    versions: dict[str, str]
    data: Data
    pruned: dict[str, Any]
    imported: dict[str, Any]
    refined: dict[str, Any]
    saved: dict[str, Any]


class Scores(TypedDict, total=False):
    before_projection: Share | None
    after_projection: Share | None
    final: Share | None
    original: Share | None  # of a pruned or refined run: before the first of these steps


class OfClass(TypedDict):
    auroc: Share | None
    average_precision: Share | None
    images: Count


class Accuracies(TypedDict):
    before: Share
    without_refitting: Share
    after: Share


class Changes(TypedDict):
    right_to_wrong: Count
    wrong_to_right: Count


class Pruned(TypedDict):
    # "from" stands beside them: the folder that it came from
    prototypes: Count
    removed: list[Count]
    test_accuracy: Accuracies
    right_to_wrong: Count
    wrong_to_right: Count


class BeforeAndAfter(TypedDict):
    before: Share
    after: Share


class Compared(TypedDict):
    test_accuracy: BeforeAndAfter
    right_to_wrong: Count
    wrong_to_right: Count


class Step(TypedDict, total=False):
    pruned: Pruned
    refined: Compared


class OfReasoning(TypedDict, total=False):
    explained_share: Required[Share | None]
    decisive_prototypes: Annotated[float, Range(1)] | None  # runs of before call it explanation_size
    sparsity: Required[Share]
    background: Required[Share | None]
    known_objects: Share
    common: Required[Share | None]
    duplicates: Required[Share]


class Metrics(TypedDict, total=False):
    test_accuracy: Scores | None
    test_auroc: Scores | None
    test_average_precision: Scores | None
    per_class: dict[str, OfClass] | None
    validation_accuracy: Share | None
    black_box_accuracy: Share | None
    black_box_auroc: Share | None
    black_box_average_precision: Share | None
    seconds: dict[str, Seconds]
    changes: dict[str, Changes]  # of a pruned or refined run: before these steps
    pruned: Pruned  # the last one
    steps: list[Step]  # what became of the run since it was made, in turn
    reasoning: OfReasoning


class LogRow(TypedDict, total=False):
    stage: Required[str]
    epoch: Count
    seconds: Seconds
    seen: Count
    train_accuracy: Share | None
    validation_accuracy: Share | None
    test_accuracy: Share | None
    loss: float | None


class LoggerRecord(TypedDict, total=False):
    rows: Required[Count]
    id: str
    address: str


class Model(TypedDict, total=False):
    network: Required[str]
    settings: Required[dict[str, Any]]
    weights: str  # checksum of the file beside it


class AuditMeasure(TypedDict):
    mean: float | None
    ci_low: float | None
    ci_high: float | None
    n: Count


class AuditCheck(TypedDict):
    label: str
    keeps: bool


class AuditLimits(TypedDict):
    answers: float
    moved: float
    overlap: float


class AuditRow(TypedDict):
    check: str
    outcome: str
    answers: AuditMeasure | None
    moved: AuditMeasure | None
    overlap: AuditMeasure


class AuditFile(TypedDict):
    localizer: str
    images: Count
    limits: AuditLimits
    checks: dict[str, AuditCheck]
    rows: Annotated[list[AuditRow], Range(1)]
    verdict: str


class MaybeBeforeAndAfter(TypedDict):
    before: Share | None
    after: Share | None


class Difference(TypedDict):
    mean: float
    low: float | None
    high: float | None


class Pair(TypedDict, total=False):
    before: Required[Count]
    after: Required[list[Count]]
    why: str


class ChangedAnswer(TypedDict, total=False):
    image: Required[str]
    position: Count
    truth: Required[str | list[str]]  # of findings all that the image has
    before: Required[str | list[str]]  # runs of before joined findings to one text
    after: Required[str | list[str]]
    was_right: bool
    is_right: bool


class Refined(TypedDict, total=False):
    # "from" stands beside them: the folder that it came from
    forgotten: Required[list[Count]]
    replaced: Required[list[Count]]
    misplaced: list[Count]  # of the forgotten, those that nobody's word forgot: they lay where nothing may count
    required: list[Count]
    split: list[Count]
    added: list[Count]
    kept: list[Count]
    pairs: list[Pair]
    test_images: Required[Count]
    test_accuracy: Required[BeforeAndAfter]
    difference: Required[Difference]
    right_to_wrong: Required[Count]
    wrong_to_right: Required[Count]
    answers_changed: Count
    changed: Required[Annotated[list[ChangedAnswer], Range(0, 500)]]
    outside: MaybeBeforeAndAfter


class ForbiddenCell(TypedDict):
    image: str
    position: Count
    row: Count
    column: Count


class ForbiddenFile(TypedDict, total=False):
    cells: Required[list[ForbiddenCell]]
    outlined: Required[list[ForbiddenCell]]
    covering: list[ForbiddenCell]
    at: Annotated[str, Range(1, 40)]


Width = Annotated[int, Range(1, 65536)]


class OfExplainer(TypedDict):
    channels: Annotated[list[Width], Range(1, 4)]
    condition: Width
    colours: Annotated[int, Range(1, 64)]


class LocalizerFile(TypedDict, total=False):
    explainer: Required[OfExplainer]
    taps: Required[Annotated[list[str], Range(1, 4)]]
    contrast: Required[Annotated[float, Range(0.01, 100)]]
    model: Required[str | None]
    weights: str  # checksum of the file beside it
    teacher: str
    training: dict[str, Any]
    held_out: dict[str, float | None]


SCHEMAS: dict[str, Any] = {
    "config.json": Config,
    "metrics.json": Annotated[Metrics, Range(1)],
    "log.jsonl": Annotated[list[LogRow], Range(1)],
    "loggers.json": dict[str, LoggerRecord],
    "model.json": Model,
    "prototypes.json": Annotated[list[dict[str, Any]], Range(1)],
    "audit.json": AuditFile,
    "refined.json": Refined,
    "forbidden.json": ForbiddenFile,
    "inspection.json": list[dict[str, Any]],
    "localizer.json": LocalizerFile,
    "files.json": dict[str, str],
}
