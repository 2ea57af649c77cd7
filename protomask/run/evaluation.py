"""``protomask evaluate``: localizers x metrics on a run's images, one table with confidence intervals."""

from __future__ import annotations

from pathlib import Path

from protomask import distributed
from protomask.errors import InputError
from protomask.evaluation import Evaluation, Oracle, choose_pairs, choose_prototype_pairs, choose_source_pairs, evaluate
from protomask.evaluation.catalogue import METRICS
from protomask.evaluation.evaluate import choose_metrics
from protomask.evaluation.tables import CLASS_ROWS, as_csv, as_markdown, class_table, per_class
from protomask.localizers import get_localizers
from protomask.run.setup import OpenRun, choose_device, open_run, say
from protomask.run_folder import RunFolder
from protomask.training.checkpoint import write_atomically

BASELINES = ("similarity", "center", "random")
PRINTED = 30
"""classes whose means are printed; those of more are in the file only"""
STEMS = {"test": "evaluation", "sources": "evaluation_sources"}
CACHE = "evaluation"
"""folder of a run that keeps maps and values; it may be deleted at any time"""


def evaluate_command(
    folder: str,
    localizers: str | None,
    metrics: str | None,
    samples: int | None,
    on: str = "test",
    classes: bool = False,
    seed: int | None = None,
    device: str | None = None,
    root: str | None = None,
    progress: bool = True,
) -> int:
    if samples is not None and samples < 1:
        raise InputError(f"--samples is {samples}; evaluate at least 1 image")
    if seed is not None and not 0 <= seed < 2**31:
        raise InputError(f"--seed is {seed}; give a number from 0 to 2147483647")
    with distributed.job(choose_device(device or RunFolder.open(folder).options().device)) as own:
        opened = open_run(folder, device=str(own), root=root, progress=progress)
        evaluation = evaluate_run(
            opened,
            localizers,
            metrics,
            opened.options.samples if samples is None else samples,
            on=on,
            classes=classes,
            seed=seed,
        )
        if distributed.is_first():
            print(evaluation.table())
            count = len(set(evaluation.classes)) if classes else 0
            if count > PRINTED:
                say(f"protomask: the means of the {count} classes are in {opened.run / (STEMS[on] + '_classes.csv')}")
            elif classes:
                for metric in next(iter(evaluation.values.values())):
                    print(f"\n{class_table(evaluation, metric)}")
    return 0


def evaluate_run(
    opened: OpenRun,
    localizers: str | None,
    metrics: str | None,
    samples: int,
    *,
    on: str = "test",
    classes: bool = False,
    seed: int | None = None,
) -> Evaluation:
    """Evaluates and writes ``evaluation.json``, ``.csv`` and ``.md`` (``evaluation_sources.*`` for the prototypes' own
    images).

    Args:
        opened: the run.
        localizers: separated by commas, with settings where wanted (``mdm:damping=1,similarity``); by default the run's
            own, the similarity map, centre and random. ``oracle`` is the map that the truth of ``parts`` draws.
        metrics: names separated by commas, or ``all``; by default the usual ones that the data allow.
        samples: images; each with its own class's most similar prototype.
        on: ``"test"``: test images; ``"sources"``: the training images that the prototypes were projected to.
        classes: also write the means of each class.
        seed: of the choice of images; by default the run's.
    """
    chosen = get_localizers(
        [opened.options.localizer, *BASELINES] if localizers is None else localizers, {"oracle": Oracle}
    )
    network, setup = opened.network, opened.setup
    seed = opened.options.seed if seed is None else seed
    if on == "sources":
        data = setup.plain
        pairs = choose_source_pairs(network, data, samples, seed)
    else:
        data = opened.test
        pairs = choose_pairs(network, data, min(samples, len(data)), seed, setup.device)
    wanted = choose_metrics(_names(metrics, "--metrics") or None, data, pairs, network)
    several = (
        choose_prototype_pairs(network, data, samples, seed)
        if any(METRICS[name].of_prototypes for name in wanted)
        else None
    )
    evaluation = evaluate(
        network,
        data,
        chosen,
        pairs,
        metrics=wanted,
        prototype_pairs=several,
        seed=seed,
        batch_size=setup.batch_size,
        device=setup.device,
        cache=opened.run / CACHE,
        progress=setup.progress,
    )
    distributed.only_first(lambda: _write(evaluation, opened.run / STEMS[on], classes))
    if "similarity" in chosen and len(chosen) > 1 and distributed.is_first():
        first = next(name for name in chosen if name != "similarity")
        say("protomask: " + evaluation.verdict(first, "similarity"))
    return evaluation


def _write(evaluation: Evaluation, stem: Path, classes: bool) -> None:
    evaluation.save(stem.with_suffix(".json"))
    texts = {".csv": as_csv(evaluation.rows), ".md": as_markdown(evaluation, classes=classes)}
    if classes:
        texts["_classes.csv"] = as_csv(per_class(evaluation), CLASS_ROWS)
    for ending, text in texts.items():
        write_atomically(
            stem.with_name(stem.name + ending),
            lambda path, text=text: path.write_text(text, encoding="utf-8", errors="backslashreplace"),
        )


def _names(words: str | None, option: str) -> list[str]:
    if words is None:
        return []
    names = [word.strip() for word in words.split(",") if word.strip()]
    if not names:
        raise InputError(f"{option} names nothing; give names separated by commas")
    return names
