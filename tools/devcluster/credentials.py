"""Who may do what on a local cluster: one restricted token per component, and the kubeconfigs that carry them."""

import base64
import secrets
from dataclasses import dataclass
from pathlib import Path

import yaml

#: The cluster role of the KWOK controller: it plays kubelet for fake nodes, so it reports their status and that
#: of their pods, and removes the pods that were asked to go. It cannot make nodes or workloads.
KWOK_RULES: list[dict[str, object]] = [
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch", "patch"]},
    {"apiGroups": [""], "resources": ["nodes/status", "pods/status"], "verbs": ["patch", "update"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "patch", "delete"]},
    {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]},
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["create", "get", "list", "watch", "patch", "update"],
    },
]
#: What the stand-in for a node autoscaler needs: see pods, make and remove nodes, say why in events.
AUTOSCALER_RULES: list[dict[str, object]] = [
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "create", "patch", "delete"]},
    {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
]
#: What Prometheus needs to find the pods that it scrapes.
PROMETHEUS_RULES: list[dict[str, object]] = [
    {
        "apiGroups": [""],
        "resources": ["pods", "services", "endpoints", "nodes"],
        "verbs": ["get", "list", "watch"],
    },
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]},
]


@dataclass(frozen=True, slots=True)
class Identity:
    """A user of the local API server, known by a token.

    Attributes:
        user: its name to the API server.
        groups: its groups.
        rules: the cluster role that it is given; empty where Kubernetes itself binds the user or group.
    """

    user: str
    groups: tuple[str, ...] = ()
    rules: tuple[dict[str, object], ...] = ()


IDENTITIES: dict[str, Identity] = {
    "admin": Identity("devcluster:admin", ("system:masters",)),
    "kube-controller-manager": Identity("system:kube-controller-manager"),
    "kube-scheduler": Identity("system:kube-scheduler"),
    "kwok": Identity("devcluster:kwok", rules=tuple(KWOK_RULES)),
    "autoscaler": Identity("devcluster:autoscaler", rules=tuple(AUTOSCALER_RULES)),
    "prometheus": Identity("devcluster:prometheus", rules=tuple(PROMETHEUS_RULES)),
}


def kubeconfig_text(*, server: str, ca_certificate: bytes, token: str, name: str) -> str:
    """Return a kubeconfig with one cluster, one user known by a token, and one context, as YAML."""
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "forebay-devcluster",
                    "cluster": {
                        "server": server,
                        "certificate-authority-data": base64.b64encode(ca_certificate).decode(),
                    },
                }
            ],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": "forebay-devcluster", "user": name}}],
            "current-context": name,
        },
        sort_keys=False,
    )


def write_private(path: Path, text: str) -> Path:
    """Write a file that only its owner can read, and return its path."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)
    return path


def write_credentials(directory: Path, *, server: str, ca_certificate: Path) -> tuple[Path, dict[str, Path]]:
    """Write a fresh token for every identity and a kubeconfig with it.

    Args:
        directory: where `tokens.csv` and `NAME.kubeconfig` go.
        server: the API server's address, `https://127.0.0.1:PORT`.
        ca_certificate: the CA that the clients trust.

    Returns:
        The path of the API server's token file, and the kubeconfigs by identity.
    """
    certificate = ca_certificate.read_bytes()
    lines: list[str] = []
    kubeconfigs: dict[str, Path] = {}
    for name, identity in IDENTITIES.items():
        token = secrets.token_urlsafe(32)
        lines.append(f'{token},{identity.user},{name},"{",".join(identity.groups)}"')
        text = kubeconfig_text(server=server, ca_certificate=certificate, token=token, name=name)
        kubeconfigs[name] = write_private(directory / f"{name}.kubeconfig", text)
    return write_private(directory / "tokens.csv", "\n".join(lines) + "\n"), kubeconfigs


def rbac_manifests() -> list[dict[str, object]]:
    """Return the ClusterRoles and ClusterRoleBindings of the identities that Kubernetes does not bind itself."""
    manifests: list[dict[str, object]] = []
    for identity in IDENTITIES.values():
        if not identity.rules:
            continue
        rbac = "rbac.authorization.k8s.io"
        metadata = {"name": identity.user}
        manifests.append(
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "ClusterRole",
                "metadata": metadata,
                "rules": list(identity.rules),
            }
        )
        manifests.append(
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": identity.user},
                "subjects": [{"apiGroup": rbac, "kind": "User", "name": identity.user}],
            }
        )
    return manifests
