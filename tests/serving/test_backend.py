"""The onnxruntime backend in Python, behind a real Triton."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.serving.small_repository import OUT, ROWS, WEIGHT, WIDTH


def tensor(name: str, array: np.ndarray) -> InferInput:
    made = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    made.set_data_from_numpy(array)
    return made


async def encode(triton: InferenceServerClient, x: np.ndarray) -> np.ndarray:
    result = await triton.infer("encoder", [tensor("X", x)])
    return result.as_numpy("Y")


async def runs(triton: InferenceServerClient, model: str) -> tuple[int, int]:
    """(rows answered, runs of the graph) so far; Triton counts a request a little after it is answered."""
    seen = (-1, -1)
    while True:
        stats = (await triton.get_inference_statistics(model)).model_stats[0]
        if seen == (seen := (stats.inference_count, stats.execution_count)):
            return seen
        await asyncio.sleep(0.2)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


async def test_requests_of_several_shapes_and_sizes_get_their_own_rows(triton):
    # 1 to 3 rows, 4 lengths, those of a length together: Triton joins only neighbours of one shape
    sizes = [(1 + i % 3, 2 + i // 12, WIDTH) for i in range(48)]
    inputs = [noise(i, *size) for i, size in enumerate(sizes)]
    alone = [await encode(triton, x) for x in inputs]
    for _ in range(20):  # on a busy machine requests may come too slowly to meet in a batch
        before = await runs(triton, "encoder")
        together = await asyncio.gather(*(encode(triton, x) for x in inputs))
        after = await runs(triton, "encoder")
        for x, one, batched in zip(inputs, alone, together, strict=True):
            assert batched.shape == (x.shape[0], OUT)
            np.testing.assert_allclose(batched, one, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(batched, (x @ WEIGHT).mean(1), rtol=1e-4, atol=1e-5)
        assert after[0] - before[0] == sum(x.shape[0] for x in inputs)
        if after[1] - before[1] < len(inputs):
            return
    pytest.fail("nothing was ever batched: the test shows nothing")


async def test_one_bad_request_in_a_burst_fails_alone(triton):
    good = np.arange(3)[None]
    bad = np.array([[0, ROWS + 1, 2]])
    burst = [bad if i in (5, 17) else good for i in range(32)]
    before = await runs(triton, "lookup")
    answers = await asyncio.gather(
        *(triton.infer("lookup", [tensor("INDEX", x)]) for x in burst), return_exceptions=True
    )
    after = await runs(triton, "lookup")
    for i, answer in enumerate(answers):
        if i not in (5, 17):
            np.testing.assert_array_equal(answer.as_numpy("VALUES"), [[0, 1, 2]])
            continue
        assert isinstance(answer, InferenceServerException)
        assert answer.status() == "StatusCode.INVALID_ARGUMENT"
        message = answer.message()
        assert message.startswith("lookup: ")
        assert "INDEX int64[1, 3]" in message  # what came
        assert str(ROWS + 1) in message
        assert "Traceback" not in message
        assert "\n" not in message
    assert after[1] - before[1] < len(burst)


@pytest.mark.parametrize(
    ("value", "status", "words"),
    [
        (np.nan, "INVALID_ARGUMENT", "input X holds NaN or infinity"),
        (-1.0, "INTERNAL", "output Y holds NaN or infinity for finite inputs X float32[1, 2]"),
    ],
)
async def test_numbers_that_are_not_finite_are_an_error_of_that_request(triton, value, status, words):
    bad = triton.infer("inverse", [tensor("X", np.array([[value, 0]], np.float32))])
    good = [triton.infer("inverse", [tensor("X", np.ones((1, 2), np.float32))]) for _ in range(15)]
    failure, *answers = await asyncio.gather(bad, *good, return_exceptions=True)
    for answer in answers:
        np.testing.assert_array_equal(answer.as_numpy("Y"), [[0.5, 0.5]])
    assert failure.status() == f"StatusCode.{status}"
    assert words in failure.message()


async def test_a_tensor_of_nothing_is_the_callers_fault(triton):
    with pytest.raises(
        InferenceServerException, match=r"input X has shape \[1, 0, \d+\]; expected some"
    ) as told:
        await triton.infer("encoder", [tensor("X", np.zeros((1, 0, WIDTH), np.float32))])
    assert told.value.status() == "StatusCode.INVALID_ARGUMENT"


async def test_a_model_without_a_batch_axis_answers_each_request_and_only_what_is_asked(triton):
    inputs = [noise(n, n, 2) for n in range(1, 9)]
    answers = await asyncio.gather(*(triton.infer("whole", [tensor("X", x)]) for x in inputs))
    for x, answer in zip(inputs, answers, strict=True):
        np.testing.assert_allclose(answer.as_numpy("SUM"), x.sum(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(answer.as_numpy("TWICE"), 2 * x)
    only = await triton.infer("whole", [tensor("X", inputs[0])], outputs=[InferRequestedOutput("TWICE")])
    assert only.as_numpy("SUM") is None
    np.testing.assert_array_equal(only.as_numpy("TWICE"), 2 * inputs[0])
