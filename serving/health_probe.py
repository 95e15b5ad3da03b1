"""One look at one model over gRPC: what its statistics say, and how it answers a made-up inference."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tritonclient.grpc import service_pb2
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from resonance.clients.in_flight import InFlight
from resonance.clients.transport import LEFT_BEHIND_S
from resonance.serving.errors import RepositoryError
from resonance.serving.readiness import Probe, one_line

#: Statistics are counters at hand: a Triton that takes longer to tell them does not work.
_STATISTICS_S = 5.0
_TIMEOUTS = ("StatusCode.DEADLINE_EXCEEDED", "StatusCode.CANCELLED")
#: Probes of one model that nobody waits for any more; what hangs is not to be sent one after the other.
_MOST_LEFT = 2


def _in_flight() -> defaultdict[str, InFlight]:
    return defaultdict(lambda: InFlight(_MOST_LEFT))


@dataclass(frozen=True, slots=True)
class Asker:
    """How Triton is asked.

    Attributes:
        headers: sent with every call.
        timeout_s: within which a model has to answer, or to have completed something else.
        in_flight: probes by model, which are not waited for any longer than that, but not cancelled either.
    """

    headers: Mapping[str, str]
    timeout_s: float
    in_flight: defaultdict[str, InFlight] = field(default_factory=_in_flight)

    async def counts(self, client: InferenceServerClient) -> dict[str, int]:
        """Inferences completed so far, by loaded model; a reload starts anew at 0.

        Triton calls them successes, and counts errors among them where a Python backend answers with them.

        Raises:
            InferenceServerException: Triton itself does not answer.
        """
        statistics: service_pb2.ModelStatisticsResponse = await client.get_inference_statistics(
            headers=dict(self.headers), client_timeout=min(self.timeout_s, _STATISTICS_S)
        )
        counts: dict[str, int] = {}
        for model in statistics.model_stats:  # one a version
            counts[model.name] = counts.get(model.name, 0) + model.inference_stats.success.count
        return counts

    async def config(self, client: InferenceServerClient, name: str) -> Any:
        """The config of model `name`.

        Raises:
            InferenceServerException: it cannot be read.
        """
        answer = await client.get_model_config(
            name, headers=dict(self.headers), client_timeout=self.timeout_s
        )
        return answer.config

    async def fault(self, client: InferenceServerClient, probe: Probe, before: int) -> str:
        """Why a model does not serve, in one line; empty where it does.

        It does not have to answer `probe` where it completed something else meanwhile: then it is busy.

        Args:
            before: inferences that it had completed before.

        Raises:
            InferenceServerException: Triton itself does not answer.
        """
        try:
            result = await self.in_flight[probe.name].result_of(
                lambda: client.infer(
                    probe.name,
                    probe.inputs,
                    headers=dict(self.headers),
                    client_timeout=self.timeout_s + LEFT_BEHIND_S,
                ),
                timeout_s=self.timeout_s,
            )
            probe.read(result)
        except RepositoryError as error:
            return str(error)
        except TimeoutError:
            pass  # busy, or hanging
        except InferenceServerException as error:
            if error.status() not in _TIMEOUTS:
                return f"fails its probe ({probe.sent}): {reason(error)}"
        else:
            return ""
        if (await self.counts(client)).get(probe.name, before) > before:
            return ""
        return f"no answer to its probe ({probe.sent}) nor to any other request in {self.timeout_s:g} s"


def reason(error: InferenceServerException) -> str:
    """The status and message of `error` in one line."""
    status = str(error.status() or "").removeprefix("StatusCode.")
    return f"{status}: {one_line(error.message())}" if status else one_line(error.message())


def steps(config: Any) -> list[str]:
    """Models that an ensemble calls; none for another model, or one whose config is not known (None)."""
    return [] if config is None else [step.model_name for step in config.ensemble_scheduling.step]
