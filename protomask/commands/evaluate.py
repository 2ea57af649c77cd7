"""``protomask evaluate``: localizers x metrics on test images, one table with confidence intervals."""

from __future__ import annotations

from protomask.commands.setup import OpenRun, open_run, say
from protomask.errors import InputError
from protomask.evaluation import Evaluation, choose_pairs, evaluate
from protomask.localizers import get_localizer

BASELINES = ("similarity", "center", "random")


def evaluate_command(folder: str, localizers: str | None, metrics: str | None, samples: int | None, device: str | None,
                     root: str | None, progress: bool = True) -> int:
    if samples is not None and samples < 1:
        raise InputError(f"--samples is {samples}; evaluate at least 1 test image")
    opened = open_run(folder, device=device, root=root, progress=progress)
    evaluation = evaluate_run(opened, localizers, metrics, opened.options.samples if samples is None else samples)
    print(evaluation.table())
    return 0


def evaluate_run(opened: OpenRun, localizers: str | None, metrics: str | None, samples: int) -> Evaluation:
    """Evaluates and writes ``evaluation.json``.

    Args:
        opened: the run.
        localizers: names separated by commas; by default the run's own, the similarity map, centre and random.
        metrics: names separated by commas; by default all that the data allow.
        samples: test images; each with its own class's most similar prototype.
    """
    names = _names(localizers, "--localizers") or list(dict.fromkeys([*_names(opened.options.localizer, "--localizer"), *BASELINES]))
    chosen = {name: get_localizer(name) for name in names}
    setup = opened.setup
    test = opened.test
    pairs = choose_pairs(opened.network, test, min(samples, len(test)), opened.options.seed, setup.device)
    evaluation = evaluate(opened.network, test, chosen, pairs, metrics=_names(metrics, "--metrics") or None,
                          seed=opened.options.seed, batch_size=setup.batch_size, device=setup.device, progress=setup.progress)
    evaluation.save(opened.run / "evaluation.json")
    if "similarity" in chosen and len(names) > 1:
        first = next(name for name in names if name != "similarity")
        say("protomask: " + evaluation.verdict(first, "similarity"))
    return evaluation


def _names(words: str | None, option: str) -> list[str]:
    if words is None:
        return []
    names = [word.strip() for word in words.split(",") if word.strip()]
    if not names:
        raise InputError(f"{option} names nothing; give names separated by commas")
    return names
