"""What --notify, --notify-on and --stall take; no message tells where a webhook is."""

from __future__ import annotations

import pytest

from taskmaster.errors import UsageError
from taskmaster.options.commands import MasterOptions
from taskmaster.options.telling import NOTIFIED

SECRET = "T0/B1/secret"


@pytest.mark.parametrize(
    "given",
    ["true", "mail -s $TASKMASTER_EVENT me@host", "https://hooks.slack.com/services/T/B/x", "http://127.0.0.1:80/x"],
)
def test_a_command_and_an_address_are_taken(given: str) -> None:
    """Whatever is no web address is a command."""
    MasterOptions(notify=(given,)).check()


@pytest.mark.parametrize(
    "given",
    [
        "", "  ", f"https:///{SECRET}", f"https://user:pw@host/{SECRET}", f"https://host:port/{SECRET}",
        f"https://host/{SECRET}\N{HORIZONTAL ELLIPSIS}", f"https://host/{SECRET} x", f"https://host/{SECRET}/ü",
    ],
)  # fmt: skip
def test_what_is_neither_is_refused_without_the_secret(given: str) -> None:
    """Also the address as messages show it, which somebody may have copied from one."""
    with pytest.raises(UsageError) as refused:
        MasterOptions(notify=(given,)).check()

    assert "--notify" in str(refused.value)
    assert "secret" not in str(refused.value).replace("it is a secret", "")
    assert "pw" not in str(refused.value)


def test_events_are_chosen_by_name() -> None:
    """Some, all, or those that somebody should know of."""
    assert MasterOptions().notified == set(NOTIFIED)
    assert MasterOptions(notify_on="finished, Stalled").notified == {"finished", "stalled"}
    assert {"slave-lost", "finished"} < MasterOptions(notify_on="all").notified


@pytest.mark.parametrize("given", ["", ",", "finish", "finished,progress", "all,finished"])
def test_an_event_that_there_is_not_is_refused(given: str) -> None:
    """The message lists those that there are."""
    with pytest.raises(UsageError, match=r"--notify-on is .*finished"):
        MasterOptions(notify_on=given).check()
