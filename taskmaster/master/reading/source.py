"""The source: whatever the user gave, as an iterator that starts at the beginning or after a key.

Anything iterable, a callable ``get_jobs``, or an object with ``iterate(last)`` is a source, and a
queryset of Django's is made one; so is a function that returns such an object, which is called in
the thread in which the source is read, and nowhere else. A source that takes no ``last`` is resumed
by reading it again up to the watermark's key.
"""

from __future__ import annotations

import inspect
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

from taskmaster.django_orm import integration
from taskmaster.errors import SourceError, UsageError, named
from taskmaster.master.reading.early_end import without_early_end
from taskmaster.master.reading.unsuitable import why_unsuitable

__all__ = ["Source", "can_be_asked_again", "is_users", "may_refuse"]

logger = logging.getLogger(__name__)

# What Python says of sources and of csv.reader that are called with last=.
GIVEN_LAST = "'last' is an invalid keyword|unexpected keyword argument 'last'"
OF_KNOWN_LENGTH = (list, tuple, dict, range)
"""What can be asked how long it is: of another type, that may be a query over a whole table."""


class Source:
    """Lazy, resumable iteration over what the user gave.

    Args:
        jobs: an iterable, an object with ``iterate(last)``, or a callable that returns one of them.
        arguments: keyword arguments for the callable.
        count: the user's ``count_jobs``, if there is one.
        name: its name in messages.
        texts: arguments that are texts because nothing says what else they are.

    Raises:
        UsageError: ``jobs`` is none of these, or does not take the arguments.
    """

    def __init__(
        self,
        jobs: Any,
        arguments: Mapping[str, Any] | None = None,
        count: Callable[..., int] | None = None,
        name: str = "get_jobs",
        texts: Sequence[str] = (),
    ) -> None:
        self._texts = texts
        self._jobs = jobs = integration.as_source(jobs)
        self._from_command = arguments is not None  # a script that calls Taskmaster has no command line
        self._arguments: dict[str, Any] = dict(arguments or {})
        self._count = count
        self.name = name
        # A class can be iterable itself, as an Enum is; then it is not called.
        itself = isinstance(jobs, type) and isinstance(jobs, Iterable)
        self._calls = callable(jobs) and not _iterates(jobs) and not itself
        self._found: Any = None if self._calls else jobs  # what there is to read, once it is known
        self._begun: Iterator[Any] | None = None  # to be closed with the source
        self._untold: dict[str, tuple[Any, ...]] = {}  # what an object is told once it is known
        self._length: int | None = None  # of what a function has returned, if that is all of its jobs
        self._looked = threading.Event()
        if not self._calls:
            self._looked.set()
        if not self._calls and not _iterates(jobs) and (why := why_unsuitable(jobs)):
            raise UsageError(f"{name} cannot be read as jobs: it is {why}.")
        if not self._calls and not _iterates(jobs) and not isinstance(jobs, Iterable):
            raise UsageError(
                f"{name} is {named(type(jobs))}, which is not a source of jobs: give an iterable, a function that "
                "returns one, or an object with iterate(last)."
            )
        self._takes_last = self._check_call()

    def _check_call(self) -> bool:
        """Return whether it is a callable that takes ``last``; refuse arguments that it does not
        take.
        """
        if not self._calls:
            if self._arguments:
                name, value = next(iter(self._arguments.items()))
                raise UsageError(
                    f"{self.name} is {named(type(self._jobs))}, which takes no arguments. Leave out "
                    f"{name}={value}, or make it a function, as in `def {self.name}({name}): return ...`."
                )
            return False
        try:
            signature = inspect.signature(self._jobs)
        except (TypeError, ValueError):
            return False
        parameters = signature.parameters
        anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        by_name = {p.name for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        unknown = [argument for argument in self._arguments if argument not in by_name and not anything]
        if unknown:
            known = ", ".join(sorted(by_name - {"last"})) or "none"
            raise UsageError(
                f"{self.name} takes no argument {unknown[0]!r} (it takes: {known}). Leave out "
                f"{unknown[0]}={self._arguments[unknown[0]]} or add the parameter."
            )
        missing = [
            p.name
            for p in parameters.values()
            if p.default is p.empty
            and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY, p.POSITIONAL_ONLY)
            and p.name not in self._arguments
        ]
        if missing == ["last"]:
            raise UsageError(
                f"{self.name} demands `last`, which is passed only when a run is resumed: give it a default, as in "
                "`def get_jobs(last=0)`."
            )
        if missing and self._from_command:
            raise UsageError(
                f"{self.name} demands the argument {missing[0]!r}: add {missing[0]}=VALUE to the command."
                f"{'' if self.name == 'get_jobs' else _callback_hint(self.name)}"
            )
        if missing:
            what = "class" if isinstance(self._jobs, type) else "function"
            raise UsageError(
                f"{self.name} is a {what} that demands the argument {missing[0]!r}: give what it returns, or "
                f"functools.partial({self.name}, {missing[0]}=...), which can be called anew for each session."
            )
        return anything or "last" in by_name

    def hint(self, exc: BaseException) -> str:
        """Return what may be behind an error that the user's function raised, as a sentence; "" for
        nothing.
        """
        if isinstance(exc, TypeError) and re.search(GIVEN_LAST, str(exc)):
            return (
                " Sources of Taskmaster's take no `last`: one that get_jobs returns goes on after it by itself. Leave "
                "it out there, and in get_jobs."
            )
        if not self._texts or not isinstance(exc, TypeError | ValueError):
            return ""
        name = self._texts[0]
        return (
            f" {name}={self._arguments[name]} of the command is passed as text: say which type it has, as in "
            f"`def {self.name}({name}: int)`."
        )

    @property
    def resumes_by_key(self) -> bool:
        """Whether the source itself can start after a key. If it is what a function returns that
        can, this is known when the function has been called.
        """
        return self._takes_last or _iterates(self._found)

    @property
    def reads_again(self) -> bool:
        """Whether it is known that the source cannot start after a key."""
        return self._looked.is_set() and not self.resumes_by_key

    @property
    def sure(self) -> bool:
        """Whether it answers for its keys (``sure_of_keys = True``): each job has one that can be
        stored, and they come in order.
        """
        return bool(self._ask("sure_of_keys", False))

    @property
    def counted(self) -> bool:
        """Whether ``total`` counts the jobs, and does not estimate how many there are."""
        return (
            self._count is not None or self._length is not None or (isinstance(self._jobs, Sized) and not self._calls)
        )

    def resolve(self, last: Any = None, *, resume: bool = False) -> None:
        """Call the user's function, unless that was done: it may return an object with
        ``iterate(last)``, which then takes the place of the function.

        Args:
            last: the key up to which all is settled.
            resume: whether to pass ``last`` on.
        """
        if not self._calls or self._found is not None:
            return
        try:
            after = {"last": last} if resume and self._takes_last else {}
            self._found = found = integration.as_source(self._jobs(**self._arguments, **after))
            # What comes after a key alone is not all.
            self._length = len(found) if type(found) in OF_KNOWN_LENGTH and not after else None
            for name, given in self._untold.items():
                self.tell(name, *given)
        finally:
            self._looked.set()

    def iterate(self, last: Any = None, *, resume: bool = False) -> Iterator[Any]:
        """Begin to read.

        Args:
            last: the key up to which all is settled.
            resume: whether to pass ``last`` on; without it, the source starts at its beginning.

        Raises:
            SourceError: what the user's function returned is not iterable. What it raises is passed
                through.
        """
        self.resolve(last, resume=resume)
        jobs = self._found
        if _iterates(jobs):
            jobs = jobs.iterate(last if resume else None)
        elif self._calls:
            self._found = None  # it is called again for another pass
        if self._calls and (why := why_unsuitable(jobs)):
            raise SourceError(f"What {self.name} returned cannot be read as jobs: it is {why}.")
        if not isinstance(jobs, Iterable):
            raise SourceError(
                f"{self.name} returned {named(type(jobs))}, not something to iterate over: it should `yield` "
                "jobs, or return a list or a generator of them, or a source such as taskmaster.sources.lines(PATH)."
            )
        begun = iter(jobs)
        # An iterator that the user has handed over, such as an open file, is theirs to close.
        self._begun = begun if begun is not self._jobs else None
        return without_early_end(begun)

    def total(self) -> int | None:
        """Return how many jobs there are in all, if the source can tell. This may take long, and
        raise what the user's code raises. Where only what a function returns can tell, it waits
        until ``iterate`` has called the function.
        """
        if self._count is not None:
            return _as_count(_call_with_known(self._count, self._arguments))
        self._looked.wait()
        counter = self._ask("total")
        if callable(counter):
            return _as_count(counter())
        if isinstance(self._jobs, Sized) and not self._calls:
            return len(self._jobs)
        return self._length

    # -- what only an object with ``iterate(last)`` may offer --------------------------------------

    @property
    def parks(self) -> bool:
        """Whether its jobs are to be parked before they are handed out, because it could not make
        the same ones again (``parked = True``). Such an object goes on after ``last``, and no two
        of its jobs have the same key.
        """
        return bool(self._ask("parked", False))

    @property
    def splits(self) -> bool:
        """Whether it can split a job that fails."""
        return self.parks and callable(self._ask("split"))

    @property
    def job_key(self) -> Callable[[Any], Any] | None:
        """Its own function from a job to its key, if it has one."""
        found: Callable[[Any], Any] | None = self._ask("job_key")
        return found if callable(found) else None

    @property
    def identity(self) -> Callable[[], str] | None:
        """Its function that gives a text which no other source has, if it has one: a run goes on
        only with the same text. For a queryset, that is model, database and query.
        """
        found: Callable[[], str] | None = self._ask("identity")
        return found if callable(found) else None

    def bounds(self, bound: Any) -> Any:
        """Ask the source at the start of a session where it ends, so that it ends there after each
        restart.

        Args:
            bound: what this returned when the run was new; None for a new run.

        Returns:
            A value that can be a key; None if there is nothing to remember.
        """
        bounds = self._ask("bounds")
        return bounds(bound) if callable(bounds) else None

    def position(self, key: Any) -> float | None:
        """Return which part of the work lies up to a key, from 0 to 1; None if unknown."""
        return self._fraction("position", key)

    def extent(self, key: Any) -> float | None:
        """Return which part of the work the job with a key is itself, from 0 to 1; None if nobody
        knows.
        """
        return self._fraction("extent", key)

    def split(self, key: Any) -> list[Any]:
        """Return the parts of a job that fails, as jobs, so that it is found which of them does;
        none if it has no parts.
        """
        split = self._ask("split")
        return list(split(key) or ()) if callable(split) else []

    def took(self, jobs: list[Any], seconds: float) -> None:
        """Tell the source how long its jobs with these keys took in a worker, one after the
        other.
        """
        took = self._ask("took")
        if callable(took):
            took(jobs, seconds)

    def tell(self, name: str, *given: Any) -> Any:
        """Call a function that an object may have or not, and return what it gives; None if it has
        none of that name. An object that is not known yet is told when it is.
        """
        if given and self._found is None:
            self._untold[name] = given
        found = self._ask(name)
        return found(*given) if callable(found) else None

    def later(self) -> bool:
        """Return whether jobs have come after the source's end was fixed, as far as it knows; asked
        when nobody reads it any more.
        """
        later = self._ask("later")
        try:
            return bool(later()) if callable(later) else False
        except Exception as exc:
            logger.debug("%s does not say whether something came later: %s", self.name, exc)
            return False
        finally:
            self.close()

    def remarks(self) -> list[str]:
        """Return what the source has to say at the end of the run."""
        remarks = self._ask("remarks")
        return [str(line) for line in remarks()] if callable(remarks) else []

    def close(self) -> None:
        """Let the generator that was begun run its ``finally`` blocks, and tell the source that
        nothing more is asked of it; in the thread that has iterated it.
        """
        try:
            _close(self._begun)
        finally:
            _close(self._found if _iterates(self._found) else None)

    def _fraction(self, question: str, key: Any) -> float | None:
        answer = self._ask(question)
        found = answer(key) if callable(answer) else None
        return None if found is None else min(1.0, max(0.0, float(found)))

    def _ask(self, name: str, default: Any = None) -> Any:
        return getattr(self._found, name, default) if _iterates(self._found) else default


def _callback_hint(name: str) -> str:
    return (
        f" TARGET names the function that yields jobs: if {name} is the one that is called with each, leave it out "
        "there. tm-run has --handle-job-callback for it, and tm-slave takes it in its TARGET."
    )


def _iterates(jobs: Any) -> bool:
    """Return whether it is an object with ``iterate(last)``."""
    return callable(getattr(jobs, "iterate", None))


def _close(given: Any) -> None:
    close = getattr(given, "close", None)
    if callable(close):
        close()


def _call_with_known(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call with those of the arguments that the function takes: counting rarely needs them all."""
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return function(**arguments)
    return function(**{name: value for name, value in arguments.items() if name in parameters})


def _as_count(value: Any) -> int | None:
    return None if value is None else max(0, int(value))


def is_users(source: Source) -> bool:
    """Return whether the order of the jobs is made by the user's own code: what takes ``last``, and
    what is skipped.
    """
    return source._takes_last or not source.resumes_by_key  # noqa: SLF001  # as below


def can_be_asked_again(source: Source) -> bool:
    """Return whether a source can be asked to go on after any key, and be left: a function of the
    user's that makes its jobs anew.
    """
    return source._takes_last and not _iterates(source._found)  # noqa: SLF001  # as below


def may_refuse(source: Source) -> bool:
    """Return whether it may turn out that a source does not have the key after which it is to
    start: what is skipped up to there, and what has ``checks_last = True``.
    """
    return not source.resumes_by_key or bool(source._ask("checks_last", False))  # noqa: SLF001  # of this module
