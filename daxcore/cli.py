# SPDX-License-Identifier: BSD-3-Clause
"""The ``daxcore`` command."""

import contextlib
import importlib.util
import json
import sys

import click

from .bench.units import PAGE_SIZE, PMD_SIZE, format_size, parse_size

_SCENARIOS = ("hole-read", "re-read", "first-write", "read-then-write", "refault")
_POLICIES = ("zero-page", "page-cache")
_BACKENDS = ("soft", "real")
_DELIVERIES = ("thread", "signal")
_MAX_THREADS = 1024
_INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it


class SizeType(click.ParamType):
    """Bytes, written 4096, 64KiB or 1GiB."""

    name = "size"

    def convert(self, value, param, ctx):
        """Parse with the rule in the message when it is broken."""
        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class ListType(click.ParamType):
    """Names joined by commas, out of a fixed set."""

    name = "list"

    def __init__(self, choices):
        self._choices = choices

    def convert(self, value, param, ctx):
        """A tuple without repetition, in the order given."""
        if isinstance(value, tuple):
            return value
        names = tuple(dict.fromkeys(name.strip() for name in value.split(",")))
        for name in names:
            if name not in self._choices:
                self.fail(
                    f"{name!r} is not one of {', '.join(self._choices)}", param, ctx
                )
        return names


class AroundType(click.ParamType):
    """Sizes joined by commas, "default" among them."""

    name = "list"

    def convert(self, value, param, ctx):
        """A tuple of bytes, None for the default, without repetition."""
        if isinstance(value, tuple):
            return value
        found = [self._one(text.strip(), param, ctx) for text in value.split(",")]
        return tuple(dict.fromkeys(found))

    def _one(self, text, param, ctx):
        if text == "default":
            return None
        try:
            size = parse_size(text)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if size == 0 or size % PAGE_SIZE:
            self.fail(f"{text} is not a multiple of 4 KiB greater than 0", param, ctx)
        return size


def _version():
    import daxcore

    return daxcore.__version__


def _print_version(ctx, param, value):
    if value and not ctx.resilient_parsing:
        click.echo(f"daxcore {_version()}")
        ctx.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def cli():
    """A userspace DAX engine: holes of sparse files read by one zero page."""


@cli.command()
@click.argument("scenario", type=click.Choice(_SCENARIOS))
@click.option(
    "--size", type=SizeType(), default="1GiB", show_default=True, help="File size."
)
@click.option(
    "--order", type=click.Choice(("seq", "random")), default="seq", show_default=True
)
@click.option(
    "--policy",
    "policies",
    type=ListType(_POLICIES),
    default=",".join(_POLICIES),
    show_default=True,
    help="What a read of a hole inserts.",
)
@click.option(
    "--backend", "backends", type=ListType(_BACKENDS), default="soft", show_default=True
)
@click.option(
    "--delivery",
    "deliveries",
    type=ListType(_DELIVERIES),
    default=",".join(_DELIVERIES),
    show_default=True,
    help="Who serves a fault of real memory.",
)
@click.option(
    "--fault-around",
    "arounds",
    type=AroundType(),
    default="default,4KiB,64KiB,2MiB",
    show_default=True,
    help="How much a fault of real memory may map; 4KiB is its page alone.",
)
@click.option(
    "--pages",
    type=click.Choice(("pte", "pmd", "auto")),
    help="Faults by 4 KiB, by 2 MiB, or by 2 MiB where it can be.  "
    "[default: pte; auto with real memory]",
)
@click.option(
    "--threads", type=click.IntRange(1, _MAX_THREADS), default=1, show_default=True
)
@click.option("--rounds", type=click.IntRange(1, 10000), default=7, show_default=True)
@click.option(
    "--kernel/--no-kernel",
    default=True,
    show_default=True,
    help="Take the kernel's own page cache along.",
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Write the figures here (schema 1); - is standard output.",
)
@click.option(
    "--plot", "plot_path", type=click.Path(dir_okay=False), help="Write a PNG here."
)
def bench(scenario, size, order, pages, threads, rounds, json_path, plot_path, **who):
    """Time SCENARIO on fresh sparse files, side by side.

    Every round runs every contender once.  Backend soft: the zero page,
    page-cache pages from warm and from fresh memory.  Backend real: memory with
    addresses, by each delivery and each size of the faults around; a sparse file
    in this directory; page-cache pages; and anonymous memory, the kernel's own.
    With either, the kernel's page cache on this directory and on /dev/shm.
    """
    pages = pages or ("auto" if "real" in who["backends"] else "pte")
    _check_size(size, pages, threads)
    _check_outputs({"json_path": json_path, "plot_path": plot_path})
    from .bench.runner import Settings
    from .bench.work import Work

    work = Work(size, order, threads, pages)
    _bench(Settings(scenario, work, rounds, **who), json_path, plot_path)


def _check_size(size, pages, threads):
    unit = PMD_SIZE if pages == "pmd" else PAGE_SIZE
    if size == 0 or size % unit:
        raise click.BadParameter(
            f"{size} is not a multiple of {format_size(unit)} greater than 0",
            param_hint="--size",
        )
    if threads > size // PAGE_SIZE:
        raise click.BadParameter(
            f"{threads} threads for {size // PAGE_SIZE} pages: at most one per page",
            param_hint="--threads",
        )


def _check_outputs(paths):
    """Fail before the run, not after it, if a file cannot be written."""
    for option, path in paths.items():
        if path in (None, "-"):
            continue
        try:
            with open(path, "ab"):
                pass
        except OSError as error:
            hint = "--" + option.removesuffix("_path")
            raise click.BadParameter(
                f"{path}: {error.strerror}", param_hint=hint
            ) from None


def _bench(settings, json_path, plot_path):
    from .bench import report
    from .bench.runner import run

    if plot_path:
        _need_matplotlib()  # before the minutes, not after
    with _progress() as progress:
        outcome = run(settings, progress)
    data = report.to_dict(outcome)
    console = _console(json_path)
    console.print(*report.tables(data), sep="")
    for line in (*report.notes(data), report.conclusion(data)):
        console.print(line, highlight=False, soft_wrap=True)
    _write_json(data, json_path)
    if plot_path:
        _plot(report, data, plot_path)
    if not data["results"]:
        raise click.ClickException("no contender could run")


def _need_matplotlib():
    if importlib.util.find_spec("matplotlib") is None:
        raise click.ClickException(
            "--plot needs matplotlib: pip install 'daxcore[plot]'"
        )


def _console(json_path):
    """Where people read: standard error when JSON has standard output."""
    from rich.console import Console

    console = Console(stderr=json_path == "-")
    if not console.is_terminal:
        console.width = 120  # a file has no width to fit
    return console


@contextlib.contextmanager
def _progress():
    """A callable for run(); draws a bar if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield lambda text, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, refresh_per_second=4
    ) as bar:
        task = bar.add_task("")
        yield lambda text, done, total: bar.update(
            task, description=text, completed=done, total=total
        )


@contextlib.contextmanager
def _writing_to(path):
    """Let an error of write(2) and close(2) say what it is about."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = path
        raise


def _write_json(data, path):
    if path is None:
        return
    text = json.dumps(data, indent=2)
    if path == "-":
        click.echo(text)
        return
    with _writing_to(path), open(path, "w", encoding="utf-8") as file:
        file.write(text + "\n")


def _plot(report, data, path):
    try:
        report.plot(data, path)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"--plot {path}: {error}") from None


@cli.command()
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Write it as JSON; - is standard output.",
)
def info(json_path):
    """Show what this machine has, what it lacks, and how to have it."""
    from .bench import machine

    _check_outputs({"json_path": json_path})
    data = machine.info()
    if json_path != "-":
        _print_info(data)
    _write_json(data, json_path)


def _print_info(data):
    for name, value in data.items():
        if name == "missing":
            continue
        if name.endswith("_bytes"):
            name, value = name.removesuffix("_bytes"), format_size(value)
        if isinstance(value, list):
            value = ", ".join(value) or "none"
        click.echo(
            f"{name.replace('_', ' '):20}{'unknown' if value is None else value}"
        )
    for sentence in data["missing"]:
        click.echo(f"missing: {sentence}")


_TRACE_FORMATS = ("text", "chrome", "npy", "json")
_MAX_TRACE_EVENTS = 1 << 24


@cli.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True),
    default="-",
    help="Write the events here; default is standard output, after the command's.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(_TRACE_FORMATS),
    help="ftrace's text (default), Chrome trace, numpy array, or JSON.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--events",
    type=click.IntRange(1, _MAX_TRACE_EVENTS),
    default=65536,
    show_default=True,
    help="Events kept for each thread at least; when there are more the oldest go.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def trace(ctx, output, form, as_json, events, command):
    """Run COMMAND and show the page faults of all files it maps.

    COMMAND is a program with its arguments, after --.  A script.py or
    -m MODULE is run by this Python, and so are python and python3.  Every
    Python that COMMAND starts and that imports daxcore is traced, to its exit;
    the exit status is that of COMMAND.
    """
    if as_json and form not in (None, "json"):
        raise click.BadParameter(f"--json and --format {form}", param_hint="--json")
    form = "json" if as_json else form or "text"
    if form == "npy" and output == "-":
        raise click.BadParameter("npy needs a FILE", param_hint="--output")
    _check_outputs({"output": None if output == "-" else output})
    from . import _trace_command

    recording, status = _trace_command.run(command, events)
    with _writing_to("standard output" if output == "-" else output):
        _trace_command.write(recording, form, output)
    click.echo(_trace_command.summary(recording), err=True)
    ctx.exit(status)


def main(args=None):
    """Entry point: 0, 1 for a failure, 2 for bad usage, 130 when interrupted."""
    try:
        result = cli.main(args=args, prog_name="daxcore", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("daxcore: interrupted; nothing was left behind", err=True)
        sys.exit(_INTERRUPTED)
    except (OSError, MemoryError) as error:
        click.echo(f"daxcore: {error or type(error).__name__}", err=True)
        sys.exit(1)
    sys.exit(result if isinstance(result, int) else 0)
