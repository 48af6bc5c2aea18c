"""Every component of a local cluster has a token that allows it no more than it needs."""

from pathlib import Path

import yaml

from devcluster import credentials
from devcluster.credentials import IDENTITIES


def _written(directory: Path) -> tuple[Path, dict[str, Path]]:
    ca = directory / "ca.crt"
    ca.write_text("certificate")
    return credentials.write_credentials(directory, server="https://127.0.0.1:1", ca_certificate=ca)


def test_every_component_has_a_token_of_its_own_that_the_api_server_knows(tmp_path: Path) -> None:
    token_file, kubeconfigs = _written(tmp_path)
    known = {line.split(",")[0]: line.split(",")[1] for line in token_file.read_text().splitlines()}
    assert len(known) == len(IDENTITIES)
    for name, path in kubeconfigs.items():
        assert known[yaml.safe_load(path.read_text())["users"][0]["user"]["token"]] == IDENTITIES[name].user


def test_two_runs_share_no_token(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, _ = _written(tmp_path / "a")
    second, _ = _written(tmp_path / "b")
    assert not set(first.read_text().split()) & set(second.read_text().split())


def test_tokens_are_for_their_owner_only(tmp_path: Path) -> None:
    token_file, kubeconfigs = _written(tmp_path)
    for path in (token_file, *kubeconfigs.values()):
        assert path.stat().st_mode & 0o777 == 0o600


def test_only_the_administrator_is_above_rbac() -> None:
    assert [name for name, identity in IDENTITIES.items() if "system:masters" in identity.groups] == ["admin"]


def test_each_role_is_bound_to_its_user() -> None:
    manifests = credentials.rbac_manifests()
    roles = {m["metadata"]["name"] for m in manifests if m["kind"] == "ClusterRole"}  # type: ignore[index]
    bindings = [m for m in manifests if m["kind"] == "ClusterRoleBinding"]
    assert roles == {"devcluster:kwok", "devcluster:autoscaler", "devcluster:prometheus"}
    for binding in bindings:
        assert binding["subjects"][0]["name"] == binding["roleRef"]["name"]  # type: ignore[index]
