"""Containers without a container engine: a Dockerfile is built, and commands run in what it made.

A container is a first process of its own, below a root directory of its own, as the image's user,
with an environment of its own; its machine has a network of its own. All of it is namespaces of
Linux and an overlay over this machine's own file system, which stands for the base image. That
takes root.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from support.commands import Command, children_of, wait_for
from support.playground import Playground

__all__ = ["Container", "Image", "Machine", "build", "cannot_contain"]

PREFIX = Path(sys.base_prefix)
# $1: a directory to mount below; then pairs of what is bound and where, up to `--`; then the
# command of chroot. What is bound is read-only where its name ends in `:ro`. An image is copied: a
# layer below a directory that is a layer itself is refused by Linux.
ROOT_OF_ITS_OWN = """
set -e
place=$1; shift
mount --make-rprivate /
mount -t tmpfs scratch "$place"
upper=${UPPER:-$place/upper}
mkdir -p "$upper" "$upper.work" "$place/root"
[ -z "$LAYER" ] || cp -a "$LAYER/." "$upper/"
mount -t overlay overlay -o "lowerdir=/,upperdir=$upper,workdir=$upper.work" "$place/root"
mount -t proc proc "$place/root/proc"
mount --rbind /dev "$place/root/dev"
while [ "$1" != -- ]; do
    to=$place/root${2%:ro}
    if [ -d "$1" ]; then mkdir -p "$to"; else mkdir -p "$(dirname "$to")"; touch "$to"; fi
    mount --bind "$1" "$to"
    case $2 in *:ro) mount -o remount,bind,ro "$to";; esac
    shift 2
done
shift
above="$PYTHON"
while [ "$above" != / ]; do chmod a+x "$place/root$above"; above=$(dirname "$above"); done
printf '127.0.0.1 localhost %s\\n' "$NAMES" > "$place/root/etc/hosts"
[ -z "$READ_ONLY" ] || mount -o remount,ro "$place/root"
exec chroot "$@"
"""


def cannot_contain() -> str:
    """Why no container can be run here; "" if one can."""
    tools = [name for name in ("unshare", "nsenter", "ip", "chroot") if not shutil.which(name)]
    if os.geteuid() or tools:
        return f"containers are namespaces of root: {', '.join(tools) or 'this user is not root'}"
    return ""


@dataclass
class Image:
    """What a Dockerfile makes.

    Attributes:
        layer: What is in it beside the base image.
        user: Number of the user and of the group.
        ran: What its ``RUN`` lines were.
    """

    layer: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": f"{PREFIX}/bin:/usr/bin:/bin"})
    directory: str = "/"
    user: str = "0:0"
    command: list[str] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)


def build(dockerfile: Path, context: Path, layer: Path) -> Image:
    """Build an image; what it runs may use this machine's network, as ``docker build`` does."""
    layer.mkdir()
    image = Image(layer)
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        _INSTRUCTIONS[word](image, rest.strip(), context)
    return image


def _from(image: Image, rest: str, _: Path) -> None:
    assert rest.startswith("python:3."), rest
    image.environment = {"PATH": f"{PREFIX}/bin:/usr/bin:/bin"}
    image.directory, image.user = "/", "0:0"


def _copy(image: Image, rest: str, context: Path) -> None:
    *sources, to = rest.split()
    if sources[0].startswith("--from="):
        assert sources[1:] == [to]  # one layer stands for both stages
        assert (image.layer / to.lstrip("/")).is_dir()
        return
    place = image.layer / to.lstrip("/")
    for source in sources:
        if (context / source).is_dir():
            shutil.copytree(context / source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (place if to.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
            shutil.copy(context / source, place)


def _run(image: Image, rest: str, _: Path) -> None:
    place = image.layer.with_suffix(".mount")
    place.mkdir(exist_ok=True)
    words = _chroot(place, image.user, image.directory, image.environment, ["/bin/sh", "-c", rest])
    inner = ["sh", "-c", ROOT_OF_ITS_OWN, "build", str(place), "--", *words]
    empty = dict.fromkeys(("LAYER", "NAMES", "READ_ONLY"), "")
    environment = {**os.environ, **empty, "UPPER": str(image.layer), "PYTHON": str(PREFIX)}
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", *inner],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"RUN {rest}\n{done.stdout}{done.stderr}"
    image.ran.append(rest)


def _env(image: Image, rest: str, _: Path) -> None:
    name, _, value = rest.partition("=")
    image.environment[name] = re.sub(r"\$(\w+)", lambda found: image.environment[found[1]], value)


def _workdir(image: Image, rest: str, _: Path) -> None:
    image.directory = rest


def _user(image: Image, rest: str, _: Path) -> None:
    image.user = rest


def _cmd(image: Image, rest: str, _: Path) -> None:
    image.command = json.loads(rest)


_INSTRUCTIONS = {
    "FROM": _from, "COPY": _copy, "RUN": _run, "ENV": _env, "WORKDIR": _workdir, "USER": _user, "CMD": _cmd,
}  # fmt: skip


def _chroot(place: Path, user: str, directory: str, environment: dict[str, str], words: list[str]) -> list[str]:
    variables = [f"{name}={value}" for name, value in environment.items()]
    return [f"--userspec={user}", f"{place}/root", "env", "-i", f"--chdir={directory}", *variables, *words]


class Container:
    """A container that was started.

    Attributes:
        command: As the machine sees it.
        first: Its first process.
    """

    def __init__(self, command: Command) -> None:
        self.command = command
        (self.first,) = wait_for("the first process", lambda: children_of(command.pid))  # type: ignore[misc]

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.command.output

    def stop(self, grace: float) -> int:
        """End it as engines do: SIGTERM to the first process, and SIGKILL when its time is over."""
        self.signal(signal.SIGTERM)
        try:
            return self.command.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            return self.end()

    def signal(self, number: int) -> None:
        """Send a signal to the first process."""
        os.kill(self.first, number)

    def end(self) -> int:
        """Wait for its end and give its exit code."""
        code = self.command.end()
        return code if code >= 0 else 128 - code


class Machine:
    """A machine that runs containers, with a network of its own.

    Args:
        playground: Ends what is left of it.
        image: What containers are made of.
        names: What names of hosts lead to this machine.
    """

    def __init__(self, playground: Playground, image: Image, *names: str) -> None:
        self._playground = playground
        self._image = image
        self._names = " ".join(names)
        self._number = 0
        script = "ip link set lo up && echo up && exec sleep 300"
        self._network = playground.start("/usr/bin/unshare", "--net", "--kill-child", "--fork", "sh", "-c", script)
        self._network.wait_for_output("up")

    def start(
        self,
        words: list[str] | None = None,
        *,
        user: str | None = None,
        groups: str = "",
        directory: str | None = None,
        environment: dict[str, str] | None = None,
        mounts: dict[str, Path] | None = None,
        read_only: bool = False,
    ) -> Container:
        """Start a container.

        Args:
            words: Its command, if not the image's.
            user: Numbers of user and group, if not the image's.
            groups: Other groups.
            directory: Where it works, if not where the image says.
            environment: Beside the image's.
            mounts: What is seen where; ``:ro`` behind the name makes it read-only.
            read_only: Nothing but what is mounted can be written to.
        """
        self._number += 1
        place = self._playground.directory / f"container-{self._number}"
        place.mkdir()
        (inside,) = wait_for("the network", lambda: children_of(self._network.pid))  # type: ignore[misc]
        mark = {"TASKMASTER_TEST": self._playground.mark, "LEDGER": "/ledger/ledger.txt", "HOME": "/"}
        chroot = _chroot(
            place,
            user or self._image.user,
            directory or self._image.directory,
            {**self._image.environment, **mark, **(environment or {})},
            words or self._image.command,
        )
        bound = [word for name, path in (mounts or {}).items() for word in (str(path), name)]
        return Container(
            self._playground.start(
                *["/usr/bin/nsenter", f"--net=/proc/{inside}/ns/net"],
                *["unshare", "--mount", "--pid", "--fork", "--kill-child"],
                *["sh", "-c", ROOT_OF_ITS_OWN, "container", str(place), *bound, "--", f"--groups={groups}", *chroot],
                LAYER=str(self._image.layer),
                PYTHON=str(PREFIX),
                NAMES=self._names,
                READ_ONLY="yes" if read_only else "",
            )
        )
