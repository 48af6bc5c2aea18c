"""What `forebay run` says when it cannot begin."""

import pytest
from click.testing import CliRunner, Result

from forebay.actuation.kube import CredentialsError
from forebay.cli.main import cli
from forebay.runtime.process import ListenError
from forebay.runtime.settings import OperatorSettings


def run_into(error: Exception, monkeypatch: pytest.MonkeyPatch) -> Result:
    """Run the operator, which meets an error."""

    async def fail(_: OperatorSettings) -> int:
        raise error

    monkeypatch.setattr("forebay.cli.run._run", fail)
    monkeypatch.setattr("forebay.cli.run.set_up_logging", lambda *_: None)
    return CliRunner().invoke(cli, ["run"])


@pytest.mark.parametrize("error", [ListenError("cannot listen on x:1: in use"), CredentialsError("No access.")])
def test_what_a_user_can_mend_is_a_sentence(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_into(error, monkeypatch)
    assert result.exit_code == 1
    assert result.output == f"Error: {error}\n"


@pytest.mark.parametrize("error", [TimeoutError(), FileNotFoundError(2, "No such file", "/some/where")])
def test_an_error_of_the_system_is_not_taken_for_a_port(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects: whatever went wrong with a file or in time read like a port that is taken."""
    result = run_into(error, monkeypatch)
    assert "cannot listen" not in result.output
    assert result.exception is error
