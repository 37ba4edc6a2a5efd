"""The parts that only some sessions have: a dry run or a sample instead of the run, a page,
notifications, a log file, metrics, a report, a hook, jobs in this process.

Each is loaded where it is asked for, and nowhere else: together they take as long to load as the
rest of the master, which is time that each start of a plain run would pay.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskmaster.master.run import Run
from taskmaster.master.stores.contract import Store
from taskmaster.master.summary import Summary, View
from taskmaster.options.commands import MasterOptions
from taskmaster.runner.loading import LoadedRun

if TYPE_CHECKING:
    from taskmaster.runner.in_process_server import InProcessServer
    from taskmaster.runner.notifiers import Notifier
    from taskmaster.runner.page import ServedPage
    from taskmaster.runner.page_plan import PagePlan
    from taskmaster.runner.sample_run import SampleRun
    from taskmaster.runtime.log_file import LogFile

__all__ = [
    "also_shown",
    "check_files",
    "dry_run",
    "in_process_server",
    "log_of",
    "notifiers_of",
    "page_of",
    "page_plan",
    "report_at_end",
    "sample_run",
    "scratch_store",
]


def dry_run(jobs: int, loaded: LoadedRun, state_path: Path | None, *, adopt: bool) -> Summary:
    """Show the first jobs of a run, and where it would go on.

    Args:
        jobs: How many are shown.
        loaded: What would be run.
        state_path: The path of its state; None if it keeps none.
        adopt: Whether ``--adopt`` was given.
    """
    from taskmaster.runner.dry_run import preview, resume_point

    known = loaded.known.identity
    state = (
        "This run would keep no state."
        if state_path is None
        else resume_point(state_path, known, loaded.name, adopt=adopt)
    )
    return preview(loaded.source, loaded.identity, jobs, state)


def sample_run(options: MasterOptions, loaded: LoadedRun) -> SampleRun | None:
    """Return the sample that is run instead of the whole; None if none is asked for."""
    if options.sample is None:
        return None
    from taskmaster.runner.sample_run import SampleRun

    return SampleRun(loaded.source, loaded.identity, options.sample)


def scratch_store(target: str) -> AbstractContextManager[Store]:
    """Return the state of a sample, which is gone when it is closed."""
    from taskmaster.runner.sample_run import scratch_store as scratch

    return scratch(target)


def page_plan(options: MasterOptions) -> PagePlan | None:
    """Return where the page is to be served; None if none is asked for.

    Raises:
        UsageError: What the options say does not go together, or a package is missing.
    """
    if options.web is None:
        return None
    from taskmaster.runner.page_plan import plan_of

    return plan_of(options)


def page_of(plan: PagePlan, run: Run, store: Store, slave: str, *, sampled: bool) -> ServedPage:
    """Return the page of a run that begins, as ``start_page`` does."""
    from taskmaster.runner.page import start_page

    return start_page(plan, run.steers.answer, store, slave, sampled=sampled)


def notifiers_of(options: MasterOptions) -> list[Notifier]:
    """Return what notifies somebody, as the options name it."""
    if not options.notify:
        return []
    from taskmaster.runner.notifiers import notifier_of

    return [notifier_of(given) for given in options.notify]


def log_of(options: MasterOptions, stack: ExitStack) -> LogFile | None:
    """Return the open log file, which the stack closes; None if none is asked for.

    Raises:
        UsageError: It cannot be written.
    """
    if options.log_file is None:
        return None
    from taskmaster.runtime.log_file import LogFile

    return stack.enter_context(LogFile(options.log_file, as_json=options.log_json))


def check_files(options: MasterOptions) -> None:
    """Refuse a file for metrics or a report that cannot be had, before the run begins.

    Raises:
        UsageError: It cannot be written, or a package is missing.
    """
    if options.metrics_file is not None:
        from taskmaster.runner.metrics_file import check_metrics_file

        check_metrics_file(options.metrics_file)
    if options.report is not None:
        from taskmaster.runner.report_file import check_report

        check_report(options.report)


def report_at_end(
    options: MasterOptions, run: Run, store: Store, exit_code: Callable[[], int | None], stack: ExitStack
) -> None:
    """Have the report that is asked for written when the session ends, as ``ReportFile`` does."""
    if options.report is not None:
        from taskmaster.runner.report_file import ReportFile

        sampled = options.sample is not None
        stack.enter_context(ReportFile(options.report, run, store, exit_code, sampled=sampled))


def also_shown(
    view: View,
    run: Run,
    on_progress: Callable[[dict[str, Any]], object] | None,
    metrics_file: str | None,
    page: ServedPage | None,
) -> View:
    """Return a view that shows the run elsewhere, too.

    Args:
        view: Shows it on the console.
        run: The run.
        on_progress: The function of a script that is called with the status.
        metrics_file: The file for its metrics.
        page: Its page.
    """
    if on_progress is not None:
        from taskmaster.runner.progress_hook import ProgressHook

        view = ProgressHook(view, on_progress, run.describe)
    if metrics_file is not None:
        from taskmaster.runner.metrics_file import MetricsFile

        view = MetricsFile(view, metrics_file, run.status, run.describe)
    if page is not None:
        from taskmaster.runner.page import PageView

        view = PageView(view, page, run.describe)
    return view


def in_process_server() -> InProcessServer:
    """Return what replaces a server where jobs run in this process."""
    from taskmaster.runner.in_process_server import InProcessServer

    return InProcessServer()
