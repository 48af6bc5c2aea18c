"""`forebay crds`: the CRDs of this version, for kubectl."""

import click

from forebay.api.crd import documents


@click.command("crds")
def command() -> None:
    """Print the CustomResourceDefinitions of this version as YAML.

    \b
    Install or upgrade them with server-side apply:
      forebay crds | kubectl apply --server-side -f -
    """  # noqa: D301  (click reads the backspace as "do not wrap")
    click.echo("---\n".join(documents().values()), nl=False)
