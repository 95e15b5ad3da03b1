"""The process that sends: `python -m resonance.loadtest.load.generator PLAN`.

It writes a journal, and on its stdout a line of JSON a second.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()  # before anything else is imported: what waits then waits for gevent

import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import traceback  # noqa: E402
from collections.abc import Callable  # noqa: E402
from contextlib import closing  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent  # noqa: E402
import grpc  # noqa: E402
from grpc.experimental import gevent as grpc_gevent  # noqa: E402
from locust.env import Environment  # noqa: E402
from locust.html import get_html_report  # noqa: E402
from locust.stats import stats_history  # noqa: E402

from resonance.clients.errors import described  # noqa: E402
from resonance.loadtest.load import material  # noqa: E402
from resonance.loadtest.load.calls import Gateway  # noqa: E402
from resonance.loadtest.load.plan import Plan  # noqa: E402
from resonance.loadtest.load.records import Journal, Phase, Record, Result  # noqa: E402
from resonance.loadtest.load.users import USERS, Caller, Steps  # noqa: E402
from resonance.loadtest.load.work import BROADCAST, FRAMES, Work  # noqa: E402

#: Windows of feeds that begin together would end together.
STAGGER_S = 0.9
RATE_CALLERS = 8
RATE_S = 1.0
#: What the last calls of a run have before they are cut off.
LAST_CALLS_S = 60


def main() -> None:
    """Measure single calls, then load as planned."""
    grpc_gevent.init_gevent()
    plan = Plan.of(sys.argv[1])
    connect = _connector(plan)
    with Path(plan.journal).open("w", encoding="utf-8") as file:
        journal = Journal(file)
        work = Work(material.made(Path(plan.material)), journal, plan.feed_s, connect)
        with closing(connect(False)) as gateway:
            gateway.wait_ready(plan.ready_s)
            work.prepare(gateway)
            _measure_tool(connect, journal)
            _measure_unloaded(gateway, work, plan)
        environment = Environment(
            user_classes=list(USERS), shape_class=Steps(plan.steps()), host=plan.address
        )
        environment.stop_timeout = LAST_CALLS_S
        Caller.work = work
        work.told = partial(_tell_locust, environment)
        _load(environment, work, journal)
        Path(plan.html).write_text(get_html_report(environment, show_download_link=False), encoding="utf-8")


def _connector(plan: Plan) -> Callable[[bool], Gateway]:
    """Makes connections as the plan says."""
    credentials = None
    if plan.certificate_file:
        credentials = grpc.ssl_channel_credentials(Path(plan.certificate_file).read_bytes())
    token = plan.token()
    metadata = [("authorization", f"Bearer {token}")] if token else []
    return lambda slow: Gateway(plan.address, credentials=credentials, metadata=metadata, small_window=slow)


def _measure_tool(connect: Callable[[bool], Gateway], journal: Journal) -> None:
    """How many of the smallest calls a second this process can make."""
    _say("the tool's own rate")
    calls, ends, cpu_s = 0, time.monotonic() + RATE_S, time.process_time()

    def caller() -> None:
        nonlocal calls
        with closing(connect(False)) as gateway:
            while time.monotonic() < ends:
                gateway.status()
                calls += 1

    gevent.joinall([gevent.spawn(caller) for _ in range(RATE_CALLERS)], raise_error=True)
    cpu_s = time.process_time() - cpu_s
    journal.tool(
        rate_per_s=calls / RATE_S, rate_cpu_share=cpu_s / RATE_S, cpu_ms_per_call=1e3 * cpu_s / max(calls, 1)
    )


def _measure_unloaded(gateway: Gateway, work: Work, plan: Plan) -> None:
    """Live feeds beside nothing else, then each other call, one at a time."""
    _say("live feeds alone")
    work.begin(Phase.UNLOADED)

    def feed(number: int) -> None:
        time.sleep(number * STAGGER_S)
        kind = (FRAMES, BROADCAST)[number % 2]
        with closing(work.connect(False)) as own:
            work.feed(own, kind)

    gevent.joinall([gevent.spawn(feed, number) for number in range(plan.unloaded_feeds)])
    _say("single calls")
    uploads = [*work.uploads, *([work.resumed] if work.resumed else [])]
    ends, rounds = time.monotonic() + plan.unloaded_s, 0
    while not rounds or time.monotonic() < ends:
        for number, upload in enumerate(uploads):
            work.upload(gateway, upload, time.monotonic())
            for each in range(5):
                work.query(gateway, number * 5 + each, time.monotonic())
            work.fuse(gateway, time.monotonic())
            work.ask(gateway, number, time.monotonic())
        rounds += 1
    work.upload(gateway, work.bad[0], time.monotonic())


def _load(environment: Environment, work: Work, journal: Journal) -> None:
    """Follow the shape, and write how it went for this process."""
    runner = environment.create_local_runner()
    gevent.spawn(stats_history, runner)
    work.begin(Phase.LOADED)
    journal.tool(began_s=work.began_s)
    ticking = gevent.spawn(_tick, environment, journal, work)
    runner.start_shape()
    assert runner.shape_greenlet is not None
    runner.shape_greenlet.join()
    gevent.kill(ticking)


def _tick(environment: Environment, journal: Journal, work: Work) -> None:
    while True:
        journal.cpu(time.monotonic() - work.began_s, time.process_time())
        gevent.sleep(1)
        runner = environment.runner
        _say(
            "load",
            at_s=round(time.monotonic() - work.began_s, 1),
            users=runner.user_count if runner else 0,
            media_s=round(journal.media_s),
            **{str(name): number for name, number in journal.results.items()},
        )


def _tell_locust(environment: Environment, record: Record) -> None:
    """For locust's own report: what is refused stands apart, and only what failed is a failure."""
    refused = record.result is Result.REFUSED
    environment.events.request.fire(
        request_type="refused" if refused else record.group,
        name=record.kind,
        response_time=record.took_s * 1e3,
        response_length=0,
        exception=RuntimeError(f"{record.code} {record.note}") if record.result is Result.FAILED else None,
        context={},
    )


def _say(what: str, **fields: float | str) -> None:
    print(json.dumps({"now": what, **fields}), flush=True)


if __name__ == "__main__":
    code = 0
    try:
        main()
    except Exception as error:
        traceback.print_exc()
        print(described(error), file=sys.stderr, flush=True)  # the last line is what the harness tells
        code = 1
    sys.stdout.flush()
    os._exit(code)  # gRPC's threads under gevent may wait for each other at the interpreter's end
