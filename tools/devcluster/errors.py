"""What can go wrong with a development cluster, each with a sentence that says what to do."""

from subprocess import CalledProcessError


class DevClusterError(RuntimeError):
    """A development cluster cannot be had, built, started or asked; the message says what to change."""


class KubectlError(CalledProcessError):
    """`kubectl` refused: like `CalledProcessError`, but the message carries what it wrote to stderr."""

    def __str__(self) -> str:
        return f"{' '.join(map(str, self.cmd))}\nended with {self.returncode}: {str(self.stderr).strip()}"
