from portway.agent.host_check import HostCheck


def test_a_refused_first_request_is_recognised_once() -> None:
    check = HostCheck(rewritten=False)
    assert [check.is_refusal(status) for status in (403, 403)] == [True, False]


def test_a_service_that_answered_once_accepts_its_host() -> None:
    check = HostCheck(rewritten=False)
    assert [check.is_refusal(status) for status in (200, 403)] == [False, False]


def test_with_a_rewritten_host_there_is_no_hint() -> None:
    assert not HostCheck(rewritten=True).is_refusal(403)
