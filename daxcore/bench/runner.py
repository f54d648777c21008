# SPDX-License-Identifier: BSD-3-Clause
"""Rounds: every contender once per round, the order rotated, medians kept."""

import contextlib
import gc
import statistics
from dataclasses import dataclass, field
from functools import partial

import numpy as np

import daxcore

from . import machine
from .contenders import (
    REFERENCE,
    Soft,
    device_bytes,
    kernel_contenders,
    soft_contenders,
)
from .real import AROUNDS, DELIVERIES, anonymous_contenders, real_contenders
from .scenarios import SCENARIOS
from .work import Work, timed

WARM_UP_ROUNDS = 1


@dataclass(frozen=True)
class Settings:
    """One run: what is done, to how much, how often, by whom."""

    scenario: str
    work: Work
    rounds: int = 7
    policies: tuple = ("zero-page", "page-cache")
    backends: tuple = ("soft",)
    kernel: bool = True  # the kernel's own page cache takes part
    directory: str = "."
    deliveries: tuple = DELIVERIES  # of real memory
    arounds: tuple = AROUNDS  # the same: bytes, None for the default


@dataclass
class Series:
    """What the rounds of one contender gave."""

    contender: object
    ns_per_page: list = field(default_factory=list)
    mapping_ns_per_page: list = field(default_factory=list)  # of those
    faults: dict | None = None  # of one round; every round takes the same
    timed_faults: int | None = None
    memory: list = field(default_factory=list)
    distinct: int | None = None
    served_by: str = ""
    latencies: np.ndarray | None = None


@dataclass
class Outcome:
    """All series of a run, with what the report needs beside them."""

    settings: Settings
    series: list
    skipped: list  # (contender key, reason)
    native_timer_ns: float
    python_timer_ns: float


def run(settings, progress=lambda text, done, total: None):
    """Run all rounds; `progress` is told what is about to start."""
    scenario = SCENARIOS[settings.scenario]
    contenders, skipped = _select(settings, scenario)
    series = [Series(contender) for contender in contenders]
    with contextlib.ExitStack() as stack:
        _give_device(stack, contenders, scenario, settings.work)
        for text, done, total, step in _steps(series, scenario, settings):
            progress(text, done, total)
            step()
    return Outcome(
        settings,
        series,
        skipped,
        machine.native_timer_overhead_ns(),
        machine.python_timer_overhead_ns(),
    )


def _select(settings, scenario):
    chosen, skipped = [], []
    for contender in _candidates(settings):
        reason = contender.why_not(scenario, settings.work)
        if reason:
            skipped.append((contender.key, reason))
        else:
            chosen.append(contender)
    return chosen, skipped


def _candidates(settings):
    """Who was asked for, in the order of the report."""
    directory, real = settings.directory, "real" in settings.backends
    found = soft_contenders() if "soft" in settings.backends else []
    if real:
        found += real_contenders(directory, settings.deliveries, settings.arounds)
    found = [one for one in found if one.policy in settings.policies]
    if settings.kernel:
        found += kernel_contenders(directory)
        found += anonymous_contenders() if real else []
    return found


def _give_device(stack, contenders, scenario, work):
    on_device = [c for c in contenders if hasattr(c, "use_device")]
    if on_device:
        device = stack.enter_context(
            daxcore.Device.memory(device_bytes(scenario, work))
        )
        for contender in on_device:
            contender.use_device(device)


def _steps(series, scenario, settings):
    """(text, number, total, call) for every round of every contender."""
    plan = list(_plan(series, scenario, settings))
    for done, (text, step) in enumerate(plan):
        yield text, done, len(plan), step


def _plan(series, scenario, settings):
    for i in range(settings.rounds + WARM_UP_ROUNDS):
        number = i + 1 - WARM_UP_ROUNDS
        for one in _rotated(series, i):
            text = f"{one.contender.key}, round {number} of {settings.rounds}"
            yield text, partial(_round, one, scenario, settings.work, number > 0)
    for one in series:
        text = f"{one.contender.key}, percentiles"
        yield text, partial(_sampled_round, one, scenario, settings.work)


def _rotated(items, i):
    i %= max(1, len(items))
    return items[i:] + items[:i]


@contextlib.contextmanager
def _quiet():
    """No garbage collection while the clock runs."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _prepare(session, scenario):
    for step in scenario.prepare:
        if step == "read":
            for call in session.calls(write=False):
                call()
        else:
            session.forget()


def _warm(contender, scenario, work):
    """Those that take new memory in each round get what is not the host's."""
    fresh = getattr(contender, "fresh_bytes", None)
    if fresh:
        machine.warm_memory(fresh(scenario, work))


def _round(series, scenario, work, keep):
    """One round on a fresh file: prepare, time one access of every page, look."""
    _warm(series.contender, scenario, work)
    before = machine.memory_use()
    with contextlib.closing(series.contender.open(work)) as session:
        _prepare(session, scenario)
        prepared = _total(session.faults()) if scenario.prepare else 0
        calls = session.calls(scenario.write)
        with _quiet():
            elapsed = timed(calls)
        if keep:
            mapping = 0 if scenario.prepare else session.mapping_ns
            series.mapping_ns_per_page.append(mapping / work.pages)
            series.ns_per_page.append((mapping + elapsed) / work.pages)
            _observe(series, session, before, prepared)


def _observe(series, session, before, prepared):
    after = machine.memory_use()
    deltas = {kind: _growth(before[kind], after[kind]) for kind in after}
    series.memory.append({**session.memory(), **deltas})
    series.faults = session.faults()
    series.timed_faults = _total(series.faults) - prepared
    series.distinct, series.served_by = session.served()


def _growth(before, after):
    return None if None in (before, after) else after - before


def _total(faults):
    return sum(n for kind, n in faults.items() if n and kind != "fallback")


def _sampled_round(series, scenario, work):
    """One more round with a clock around each fault, for the percentiles."""
    _warm(series.contender, scenario, work)
    with contextlib.closing(series.contender.open(work)) as session:
        _prepare(session, scenario)
        with _quiet():
            series.latencies = session.sample(scenario.write)


def percentile(latencies, q, timer_ns):
    """A percentile in ns, None where the clock is too coarse to tell."""
    if latencies is None or len(latencies) == 0:
        return None
    value = float(np.percentile(latencies, q))
    return value if value >= 2 * timer_ns else None


def timer_of(outcome, contender):
    """Overhead in ns of the clock that sampled this contender."""
    soft = isinstance(contender, Soft)
    return outcome.native_timer_ns if soft else outcome.python_timer_ns


def median_memory(series):
    """Median of each kind of memory over the rounds; None where unknown."""
    kinds = series.memory[0]
    return {kind: _median_or_none([m[kind] for m in series.memory]) for kind in kinds}


def _median_or_none(values):
    return None if None in values else int(statistics.median(values))


def reference(outcome):
    """The series that ratios are taken against, or None."""
    return next((s for s in outcome.series if s.contender.key == REFERENCE), None)
