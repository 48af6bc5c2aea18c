"""What `helm test` runs in the operator's image: its Service leads to a replica that is ready and has metrics."""

import sys
import time
import urllib.error
import urllib.request


def failure(service: str) -> str:
    """Return what is wrong with the Service at an address, "" where nothing is."""
    for path, wanted in (("/readyz", ""), ("/metrics", "\nforebay_build_info{")):
        try:
            with urllib.request.urlopen(service + path, timeout=5) as answer:  # noqa: S310 - the chart's own address
                said = answer.read().decode()
        except urllib.error.HTTPError as error:
            return f"{service}{path} answers {error.code}: {error.read().decode(errors='replace').strip()[:500]}"
        except OSError as error:
            return f"{service}{path} cannot be reached: {getattr(error, 'reason', error)}"
        if wanted not in said:
            return f"{service}{path} is not Forebay's: it has no {wanted.strip()[:-1]}"
    return ""


def main(service: str, patience_seconds: float) -> int:
    """Ask until nothing is wrong or patience ends; return the exit status."""
    until = time.monotonic() + patience_seconds
    while (wrong := failure(service)) and time.monotonic() < until:
        time.sleep(1)
    sys.stdout.write(f"{wrong or f'{service} is ready and has metrics'}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
