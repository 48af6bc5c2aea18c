"""How each program of a local control plane is started: its flags, and why those that are not obvious.

The flags follow what kubeadm and kwokctl use, reduced to one machine and to loopback.
"""

from dataclasses import dataclass
from pathlib import Path

from devcluster.pki import Pki

HOST = "127.0.0.1"
SERVICE_RANGE = "10.96.0.0/16"
POD_RANGE = "10.128.0.1/9"
#: Which nodes KWOK plays kubelet for; everybody else's nodes are left alone.
FAKE_NODE_ANNOTATION = "kwok.x-k8s.io/node=fake"

SCHEDULER_CONFIG = """\
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {{leaderElect: false}}
clientConnection: {{kubeconfig: "{kubeconfig}", qps: 200, burst: 400}}
# The defaults (1 s, 10 s) suit real nodes that take minutes; here minutes are played in seconds.
podInitialBackoffSeconds: 1
podMaxBackoffSeconds: 2
"""


@dataclass(frozen=True, slots=True)
class Ports:
    """The loopback ports of one control plane."""

    etcd: int
    etcd_peer: int
    apiserver: int
    controller_manager: int
    scheduler: int
    kwok: int


def etcd_argv(program: Path, directory: Path, ports: Ports, pki: Pki) -> tuple[str, ...]:
    """Return the command line of etcd: TLS with client certificates, data without fsync.

    Without fsync a crash of the *machine* may lose data; the loss of a process, which is what tests play, not.
    """
    client, peer = f"https://{HOST}:{ports.etcd}", f"https://{HOST}:{ports.etcd_peer}"
    return (
        str(program),
        "--name=devcluster",
        f"--data-dir={directory / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=devcluster={peer}",
        f"--cert-file={pki.etcd_certificate}",
        f"--key-file={pki.etcd_key}",
        "--client-cert-auth=true",
        f"--trusted-ca-file={pki.ca_certificate}",
        f"--peer-cert-file={pki.etcd_certificate}",
        f"--peer-key-file={pki.etcd_key}",
        "--peer-client-cert-auth=true",
        f"--peer-trusted-ca-file={pki.ca_certificate}",
        "--unsafe-no-fsync=true",
        "--log-level=warn",
    )


def apiserver_argv(program: Path, ports: Ports, pki: Pki, token_file: Path) -> tuple[str, ...]:
    """Return the command line of kube-apiserver: RBAC, tokens, loopback."""
    return (
        str(program),
        f"--etcd-servers=https://{HOST}:{ports.etcd}",
        f"--etcd-cafile={pki.ca_certificate}",
        f"--etcd-certfile={pki.etcd_certificate}",
        f"--etcd-keyfile={pki.etcd_key}",
        f"--bind-address={HOST}",
        f"--advertise-address={HOST}",
        f"--secure-port={ports.apiserver}",
        # A loopback address is no valid endpoint of the `kubernetes` service.
        "--endpoint-reconciler-type=none",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        # Also makes the ConfigMap extension-apiserver-authentication, which the other components look for.
        f"--client-ca-file={pki.ca_certificate}",
        f"--tls-cert-file={pki.server_certificate}",
        f"--tls-private-key-file={pki.server_key}",
        f"--token-auth-file={token_file}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki.service_account_public_key}",
        f"--service-account-signing-key-file={pki.service_account_key}",
        "--allow-privileged=true",
    )


def controller_manager_argv(program: Path, ports: Ports, pki: Pki, kubeconfig: Path) -> tuple[str, ...]:
    """Return the command line of kube-controller-manager."""
    return (
        str(program),
        f"--kubeconfig={kubeconfig}",
        # Without it most controllers are refused by RBAC.
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        f"--bind-address={HOST}",
        f"--secure-port={ports.controller_manager}",
        f"--root-ca-file={pki.ca_certificate}",
        f"--service-account-private-key-file={pki.service_account_key}",
        # Fake nodes stay Ready while the API server is away; a node that says Ready=False is still believed.
        "--node-monitor-grace-period=24h",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    )


def scheduler_argv(program: Path, ports: Ports, config: Path) -> tuple[str, ...]:
    """Return the command line of kube-scheduler; `config` holds `SCHEDULER_CONFIG`."""
    return (
        str(program),
        f"--config={config}",
        f"--bind-address={HOST}",
        f"--secure-port={ports.scheduler}",
    )


def kwok_argv(program: Path, port: int, kubeconfig: Path, stages: Path) -> tuple[str, ...]:
    """Return the command line of the KWOK controller with our own stages and nobody else's nodes."""
    return (
        str(program),
        f"--kubeconfig={kubeconfig}",
        f"--config={stages}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={FAKE_NODE_ANNOTATION}",
        "--node-lease-duration-seconds=40",
        f"--cidr={POD_RANGE}",  # the default has 254 addresses
        f"--server-address={HOST}:{port}",
    )


def prometheus_argv(
    program: Path, port: int, config: Path, data: Path, *, receives: bool = False
) -> tuple[str, ...]:
    """Return the command line of Prometheus; one that receives takes remote writes."""
    return (
        str(program),
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        "--storage.tsdb.retention.time=2d",
        # It is killed by SIGKILL on purpose; nobody else uses the directory.
        "--storage.tsdb.no-lockfile",
        f"--web.listen-address={HOST}:{port}",
        "--web.enable-lifecycle",
        "--log.level=warn",
        *(("--web.enable-remote-write-receiver",) if receives else ()),
    )
