"""`python -m resonance.training train-tiny`: the commands of training, where `resonance` is not installed.

The `resonance` command finds its sub-commands by entry points, which a bare checkout does not have.
"""

import typer

from resonance.training.cli import align, evaluate_tiny, train_tiny

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
for command in (train_tiny, evaluate_tiny, align):
    app.command(command.__name__.replace("_", "-"))(command)

if __name__ == "__main__":
    app(prog_name="python -m resonance.training")
