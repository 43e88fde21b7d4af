"""`train`: an encoder of one's own photos."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from retrieval.cli import options
from retrieval.cli.output import percent, plural, print_failed, print_table, to_json

if TYPE_CHECKING:
    from retrieval.embedding import FailedPhoto
    from retrieval.paths import AnyPath
    from retrieval.training.parts import Watcher
    from retrieval.training.planning import Plan
    from retrieval.training.running import Trained

_LOSSES = (
    *("arcface", "subcenter-arcface", "contrastive", "triplet", "multi-similarity", "supcon"),
    *("open-set", "arcface+open-set"),
)


class Option(click.ParamType[tuple[str, Any]]):
    """A loss's option, `NAME=VALUE`."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        """Part it; what reads as a number is one."""
        if isinstance(value, tuple):
            return value
        name, sign, text = str(value).partition("=")
        if not sign:
            self.fail(f"{value!r} is no option: say NAME=VALUE", param, ctx)
        for kind in (int, float):
            with contextlib.suppress(ValueError):
                return name, kind(text)
        return name, text


@click.command()
@click.argument("data", type=options.PhotoPath())
@click.option(
    "--out", type=click.Path(path_type=Path), help="The encoder's folder, made when all is done."
)
@click.option(
    "--encoder",
    default="efficientnet_lite0",
    show_default=True,
    help="What to begin with: efficientnet_lite0, _lite1, _lite2, timm:NAME, siamese, or an "
    "encoder's folder.",
)
@click.option(
    "--weights", type=click.Path(path_type=Path), help="A local checkpoint for timm:NAME."
)
@click.option("--from-scratch", is_flag=True, help="Begin timm:NAME without any weights.")
@click.option(
    "--mode",
    type=click.Choice(["auto", "head", "partial", "full"]),
    default="auto",
    show_default=True,
    help="What is trained: a projection of the features; the network's last stages too; all of it.",
)
@click.option(
    "--loss",
    type=click.Choice(_LOSSES),
    default="arcface",
    show_default=True,
    help="What training makes smaller.",
)
@click.option(
    "--loss-option", "loss_options", type=Option(), multiple=True, help="For example margin=0.2."
)
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the photos.")
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Photos to a step.",
)
@click.option("--dim", type=click.IntRange(min=2), help="Length of the projection (256).")
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of the distance that what is learnt decides, beside the pretrained features (0.5).",
)
@click.option("--stage", type=click.IntRange(min=0), help="partial: stages that stay frozen.")
@click.option("--views", type=click.IntRange(min=1), help="Cached views of each photo (8).")
@click.option("--rate", type=click.FloatRange(0, 1, min_open=True), help="Learning rate.")
@click.option(
    "--hard-every",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Mine hard examples anew after so many epochs; for losses of pairs and triplets.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    default=25.0,
    show_default=True,
    help="How long it may take; the epochs are planned to fit.",
)
@click.option(
    "--rehearsal/--no-rehearsal",
    default=True,
    help="First train on a part and judge by the rest, for figures, the number of epochs and a "
    "threshold; then on all photos.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Draws divisions, views, first weights and batches.",
)
@options.device
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="Arithmetic of the steps; auto takes the fastest.",
)
@click.option("--resume", is_flag=True, help="Go on with a run that was stopped.")
@click.option("--dry-run", is_flag=True, help="Print the plan and do nothing.")
@options.as_json
def train(
    data: AnyPath,
    out: Path | None,
    loss_options: tuple[tuple[str, Any], ...],
    resume: bool,
    dry_run: bool,
    as_json: bool,
    **wishes: Any,
) -> None:
    """Train an encoder on DATA: a folder of photos by label, or a CSV path,label[,split][,group].

    What comes of it is a folder for --encoder. It was judged by photos it had not seen and by
    labels it had not seen, and brings a threshold tuned on those. docs/training.md explains modes,
    losses and figures.
    """
    from retrieval.training.running import plan_training
    from retrieval.training.running import train as run
    from retrieval.training.wishes import Wishes
    from retrieval.training.work_folder import can_resume

    asked = Wishes(loss_options=dict(loss_options), **wishes)
    if dry_run:
        plan, failed = plan_training(data, asked)
        print_failed(failed)
        if as_json:
            click.echo(to_json(plan))
        else:
            _print_plan(plan)
        return
    if out is None:
        raise click.UsageError("--out says where the encoder goes; or ask for --dry-run.")
    try:
        with _watcher(quiet=as_json) as watcher:
            trained = run(data, out, asked, resume=resume, watcher=watcher)
    except KeyboardInterrupt:
        how = "with --resume goes on from here" if can_resume(out) else "begins again"
        click.echo(f"Stopped. The same command {how}.", err=True)
        raise click.exceptions.Exit(130) from None
    if as_json:
        click.echo(to_json(trained))
    else:
        _print_trained(trained)


@contextlib.contextmanager
def _watcher(*, quiet: bool) -> Iterator[Watcher]:
    """Show the plan, then bars with rate, loss and time left while a terminal looks on."""
    from tqdm import tqdm

    from retrieval.training.parts import Watcher

    class Bars(Watcher):
        def __init__(self) -> None:
            self.bar: Any = None
            self.what = ""

        def planned(self, plan: Plan, failed: list[FailedPhoto]) -> None:
            print_failed(failed)
            if not quiet:
                _print_plan(plan)

        def cached(self, done: int, total: int) -> None:
            self._show("views", "views", done, total)

        def stepped(self, part: str, moment: Any) -> None:
            self._show(part, "steps", moment.step, moment.steps)
            self.bar.set_postfix(
                epoch=moment.epoch + 1,
                loss=f"{moment.loss:.3f}",
                photos_per_s=f"{moment.photos_per_second:.0f}",
                refresh=False,
            )

        def _show(self, what: str, unit: str, done: int, total: int) -> None:
            if self.bar is None or self.what != what:
                self.close()
                self.bar = tqdm(desc=what, unit=f" {unit}", total=total, disable=None, leave=False)
                self.what = what
            self.bar.update(done - self.bar.n)

        def close(self) -> None:
            if self.bar is not None:
                self.bar.close()

    bars = Bars()
    try:
        yield bars
    finally:
        bars.close()


def _print_plan(plan: Plan) -> None:
    shape, recipe = plan.shape, plan.recipe
    click.echo(f"{plural(plan.photos, 'photo')} of {plural(plan.labels, 'label')}")
    for reason in plan.reasons:
        click.echo(reason)
    if plan.rehearsal:
        click.echo(
            f"rehearsal: {plan.train:,} photos train, {plan.known:,} others of their labels and "
            f"{plan.strangers:,} strangers of {plural(plan.stranger_labels, 'label')} judge"
        )
    click.echo(
        f"mode {shape.mode}, {plural(recipe.epochs, 'epoch')} of {recipe.loss} in batches of "
        f"{recipe.batch}, {recipe.precision}; {plan.steps:,} steps in all"
    )
    if plan.cache_bytes:
        click.echo(f"cache: {plan.cache_bytes / 1e6:,.0f} MB on disk until it is done")
    click.echo(f"about {plural(max(1, round(plan.seconds / 60)), 'minute')}")


def _print_trained(trained: Trained) -> None:
    names = list(trained.after)
    if names:
        rows = [
            [what, *(percent(figures.get(name)) for name in names)]
            for what, figures in (("before", trained.before), ("after", trained.after))
        ]
        click.echo("photos kept back, by the rehearsal:")
        print_table(["", *names], rows)
    click.echo(
        f"{trained.path}: dim {trained.dim}, {plural(trained.epochs, 'epoch')}, "
        f"{trained.seconds / 60:.1f} minutes"
    )
    if trained.threshold is not None:
        click.echo(
            f"threshold {trained.threshold['value']:.4f} ({trained.threshold['rule']}, "
            f"{trained.threshold['objective']}) travels with it"
        )
    elif trained.plan.rehearsal:
        click.echo(
            f"no threshold travels with it: {plural(trained.plan.strangers, 'stranger')} of "
            f"{plural(trained.plan.stranger_labels, 'label')} are too few to tune one"
        )
