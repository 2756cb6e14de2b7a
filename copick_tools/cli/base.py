"""Commands that turn our errors into two friendly lines, and groups that import a command when it is called."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import click

from copick_tools.cli import output
from copick_tools.errors import PopsicleError

CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True}


class Command(click.Command):
    """A command with ``-q`` and ``--debug`` that prints a PopsicleError as ``Error:`` and ``Hint:``.

    sections: title -> names of parameters that the help shows below the others, under that title.
    """

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[str]] | None = None, **kwargs: Any) -> None:
        self.sections = sections or {}
        kwargs["context_settings"] = {**CONTEXT, **(kwargs.get("context_settings") or {})}
        super().__init__(*args, **kwargs)
        self.params += [
            click.Option(["-q", "--quiet"], is_flag=True, help="No words, no progress."),
            click.Option(["--debug"], is_flag=True, envvar="POPSICLE_DEBUG", help="Show tracebacks and details."),
        ]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click, by section."""
        title_of = {name: title for title, names in self.sections.items() for name in names}
        rows: dict[str, list[tuple[str, str]]] = {"Options": [], **{title: [] for title in self.sections}}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                rows[title_of.get(str(parameter.name), "Options")].append(record)
        for title, records in rows.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; the function itself never sees ``quiet`` and ``debug``."""
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's threads would spin where others have work to do
        debug = ctx.params.pop("debug")
        output.configure(quiet=ctx.params.pop("quiet"), debug=debug)
        try:
            _keep_home_clean()
            with output.only_results():
                return super().invoke(ctx)
        except PopsicleError as error:
            if debug:
                raise
            output.failure(error.message, error.hint)
            ctx.exit(error.code)
        except BrokenPipeError:  # the reader of stdout has gone: nothing left to say, and no place to say it
            os._exit(1)
        except OSError as error:
            if debug:
                raise
            output.failure(str(error), "is there space, and may you write there?")
            ctx.exit(1)


def _keep_home_clean() -> None:
    """matplotlib, which nnU-Net and some of our pictures import, would leave a list of fonts in the user's home."""
    if "MPLCONFIGDIR" not in os.environ:
        from copick_tools.data.temporary import lasting_folder

        os.environ["MPLCONFIGDIR"] = str(lasting_folder())


class LazyGroup(click.Group):
    """A group whose commands are ``name: (section, "module:attribute", one line of help)``, imported when called."""

    def __init__(self, *args: Any, lazy: dict[str, tuple[str, str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command."""
        if name not in self.lazy:
            return None
        module, _, attribute = self.lazy[name][1].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click, but an unknown command names the nearest one."""
        if args and args[0] not in self.lazy and not args[0].startswith("-"):
            from copick_tools.errors import nearest

            raise click.UsageError(f"no command '{args[0]}'; {nearest(args[0], self.lazy, limit=40)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """By section, without importing anything."""
        for section in dict.fromkeys(row[0] for row in self.lazy.values()):
            rows = [(name, row[2]) for name, row in self.lazy.items() if row[0] == section]
            with formatter.section(section):
                formatter.write_dl(rows)
