"""What an operator can measure: counts by closed lists, and never anything of an upload."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from intake.door import Door
from intake.refusals import REASONS
from intake.seen import OUTCOMES, UploadOutcome
from intake.seldom import Seldom
from intake.shipper import FAILURES, Shipper
from intake.spool import ASIDE_REASONS, Spool

ANONYMIZERS = frozenset({"0.1.0"})
"""Versions that exist; a phone may write any digits there, which a label would then keep."""
OTHER = "other"


class Metrics:
    """The counters of one intake, and a look at door, spool and shipper whenever they are read."""

    def __init__(self, door: Door, spool: Spool, shipper: Shipper) -> None:
        self._registry = CollectorRegistry()
        self._uploads = Counter(
            "intake_uploads", "Uploads answered 200.", ["outcome"], registry=self._registry
        )
        self._refused = Counter(
            "intake_refused", "Uploads not taken.", ["reason"], registry=self._registry
        )
        self._redactions = Counter(
            "intake_redactions",
            "Places redacted in accepted uploads.",
            ["rule", "anonymizer"],
            registry=self._registry,
        )
        self._expires = Gauge(
            "intake_certificate_expires_timestamp_seconds",
            "When the certificate that intake serves ends; 0 without one.",
            registry=self._registry,
        )
        self._registry.register(_Look(door, spool, shipper))
        self._begin_at_zero()

    def accepted(
        self, outcome: UploadOutcome, anonymizer: str, redacted: Mapping[str, int]
    ) -> None:
        """Count an upload that was answered 200."""
        self._uploads.labels(outcome).inc()
        version = anonymizer if anonymizer in ANONYMIZERS else OTHER
        for rule, places in redacted.items():
            self._redactions.labels(rule, version).inc(places)

    def refused(self, reason: str) -> None:
        """Count an upload that was not taken, by one of `REASONS`."""
        self._refused.labels(reason).inc()

    def certificate_ends(self, at: datetime) -> None:
        """Note when the certificate that is served from now on ends."""
        self._expires.set(at.timestamp())

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)

    def _begin_at_zero(self) -> None:
        """An alarm on a series that does not exist yet would never ring."""
        for outcome in OUTCOMES:
            self._uploads.labels(outcome)
        for reason in REASONS:
            self._refused.labels(reason)


class _Look(Collector):
    """Door, spool and shipper as they are now."""

    def __init__(self, door: Door, spool: Spool, shipper: Shipper) -> None:
        self._door, self._spool, self._shipper = door, spool, shipper
        self._backlog = Seldom(spool.backlog)

    def _waiting(self) -> Iterator[Metric]:
        """What the spool holds; no figures at all while its folder cannot be read.

        A look at 100 000 files takes long, so its figures then are some seconds old.
        """
        try:
            backlog = self._backlog.ask()
        except OSError:
            return
        yield GaugeMetricFamily("intake_spool_uploads", "Waiting uploads.", backlog.length)
        yield GaugeMetricFamily(
            "intake_oldest_waiting_seconds", "Age of the oldest of them.", backlog.oldest_s
        )
        yield GaugeMetricFamily(
            "intake_spool_aside_files", "Files set aside, for a person.", backlog.aside
        )

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("intake_under_way", "Uploads being read.", self._door.inside)
        yield from self._waiting()
        aside = CounterMetricFamily("intake_set_aside", "Files set aside.", labels=["reason"])
        for reason in ASIDE_REASONS:
            aside.add_metric([reason], self._spool.set_aside_by[reason])
        yield aside
        yield CounterMetricFamily("intake_shipped", "Moved to the depot.", self._shipper.shipped)
        failures = CounterMetricFamily(
            "intake_ship_failures", "Attempts that left an upload waiting.", labels=["reason"]
        )
        for failure in FAILURES:
            failures.add_metric([failure], self._shipper.failed[failure])
        yield failures
        yield CounterMetricFamily(
            "intake_spool_troubles", "Times that the spool was unreadable.", self._shipper.troubles
        )

    def describe(self) -> Iterator[Metric]:
        """Nothing beforehand: asking would read the spool before it is open."""
        return iter(())
