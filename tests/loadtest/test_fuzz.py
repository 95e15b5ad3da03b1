"""The fuzzers' own parts, and some hundred inputs of each kind."""

from __future__ import annotations

import hashlib
import io
import shutil
import socket
import struct
import zlib
from collections import Counter
from pathlib import Path

import av
import pytest
from PIL import Image

from resonance.clients.media.clip import clip_from_bytes, clip_to_bytes
from resonance.clients.media.types import Clip, Packet
from resonance.loadtest.fuzz.calls import MOST_BYTES, TOO_LARGE_BYTES, End, make_call
from resonance.loadtest.fuzz.canary import Canary
from resonance.loadtest.fuzz.clip_part import fuzz_clips
from resonance.loadtest.fuzz.clips import clip_samples, make_clip
from resonance.loadtest.fuzz.demux_part import Reader, fuzz_demux
from resonance.loadtest.fuzz.kept import read_samples, write_samples
from resonance.loadtest.fuzz.mutate import CHANGES, MAX_BYTES, Material, Sample, make_mutant, random_of
from resonance.loadtest.fuzz.outside import attempts_after_sealing, trace_demux
from resonance.loadtest.fuzz.parts import RPC_LIMITS, SPACE, rpc_media
from resonance.loadtest.fuzz.rpc_part import fuzz_rpc
from resonance.loadtest.fuzz.samples import RECIPES, cut, made_samples, word_samples
from resonance.loadtest.fuzz.scripts import make_scripts
from resonance.loadtest.fuzz.sealed_part import fuzz_sealed, judge_read
from resonance.loadtest.fuzz.structure import Field, elements, ogg_crc, repair
from resonance.loadtest.fuzz.tally import Tally
from resonance.loadtest.fuzz.tokens import dictionary, references
from resonance.loadtest.fuzz.uploads import make_upload
from resonance.loadtest.gateway.stack import Stack
from resonance.serving.server import TritonServer
from resonance.space.descriptor import Descriptor
from resonance.v1 import embedding_pb2 as pb

SEED = 20
CANARY = "/somewhere/canary"


@pytest.fixture(scope="module")
def made() -> list[Sample]:
    """Good files of every kind."""
    av.logging.set_level(av.logging.PANIC)
    return made_samples()


@pytest.fixture(scope="module")
def material(made: list[Sample]) -> Material:
    return Material(tuple(made), dictionary(CANARY, "127.0.0.1:12345"))


@pytest.fixture(scope="module")
def descriptor(model_repository: Path) -> Descriptor:
    return Descriptor.load(model_repository / SPACE)


def always() -> bool:
    return True


# Samples


def test_every_recipe_makes_a_file_that_ffmpeg_reads(made: list[Sample]) -> None:
    by_name = {sample.name: sample for sample in made}
    for recipe in RECIPES:
        with av.open(io.BytesIO(by_name[recipe.name].data)) as container:
            kinds = {stream.type for stream in container.streams}
            wanted = {
                *(["video"] if recipe.video else []),
                *(["audio"] if recipe.audio else []),
                *(["subtitle"] if recipe.words else []),
            }
            assert kinds == wanted, recipe.name
    assert all(len(sample.data) < 150_000 for sample in made)


def test_the_head_of_a_film_whose_index_stands_at_the_end_keeps_its_index(made: list[Sample]) -> None:
    film = next(sample.data for sample in made if sample.name == "index-last.mp4")
    short = cut(film, 16_000)
    assert len(short) < len(film)
    with av.open(io.BytesIO(short)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    assert packets
    assert packets[0].is_keyframe


# Structure


def test_lengths_are_found_where_formats_write_them(made: list[Sample]) -> None:
    by_name = {sample.name: sample.data for sample in made}
    mp4 = by_name["index-last.mp4"]
    kinds = {mp4[e.start + 4 : e.start + 8] for e in elements(mp4)}
    assert {b"ftyp", b"moov", b"trak", b"stsz", b"avcC", b"mdat"} <= kinds
    for element in elements(mp4):
        assert element.length.read(mp4) == element.end - element.start
    wav = by_name["plain.wav"]
    assert [wav[e.start : e.start + 4] for e in elements(wav)] == [b"RIFF", b"fmt ", b"data"]
    webm = by_name["vp8.webm"]
    starts = [webm[e.start : e.start + 4] for e in elements(webm)]
    assert bytes.fromhex("1a45dfa3") in starts
    assert bytes.fromhex("1f43b675") in starts  # a cluster inside the segment
    assert elements(b"no format at all") == []
    assert elements(b"") == []


def test_a_walk_takes_files_that_break_off_anywhere(made: list[Sample]) -> None:
    magics = [sample.data[:400] for sample in made] + [b"ID3\x04\x00\x00", b"RIFF", b"FORM", b"caff", b"OggS"]
    for data in magics:
        for length in (*range(48), 100, 200, 400):
            short = bytearray(data[:length])
            assert all(0 <= e.start <= e.end <= len(short) for e in elements(short))
            repair(short)
            assert len(short) == min(length, len(data))


def test_a_field_is_written_as_it_is_read() -> None:
    for size_bytes in (1, 2, 3, 4, 8):
        for big in (True, False):
            data = bytearray(16)
            Field(3, size_bytes, big=big).write(data, 0xA1B2C3D4E5F60718)
            assert Field(3, size_bytes, big=big).read(data) == 0xA1B2C3D4E5F60718 % (1 << 8 * size_bytes)
            assert data[:3] + data[3 + size_bytes :] == bytes(16 - size_bytes)


def test_repaired_checksums_are_those_that_readers_expect(made: list[Sample]) -> None:
    ogg = bytearray(next(s.data for s in made if s.name == "opus.ogg"))
    untouched = bytes(ogg)
    repair(ogg)
    assert bytes(ogg) == untouched  # FFmpeg wrote the same
    assert ogg_crc(b"\x00" * 27) == 0
    png = bytearray(next(s.data for s in made if s.name == "still.png"))
    at = png.index(b"IHDR")
    png[at + 4 : at + 8] = struct.pack(">I", 31)  # a width that is not what was compressed
    broken = bytes(png)
    repair(png)
    assert bytes(png) != broken
    assert struct.unpack(">I", png[at + 17 : at + 21])[0] == zlib.crc32(png[at : at + 17])
    assert Image.open(io.BytesIO(png)).size == (31, 24)


# Mutants


def test_a_mutant_is_made_of_its_two_numbers_alone(material: Material) -> None:
    first = [make_mutant(material, seed=SEED, number=n) for n in range(50)]
    again = [make_mutant(material, seed=SEED, number=n) for n in reversed(range(50))]
    assert first == again[::-1]
    assert len({m.data for m in first}) > 45
    others = [make_mutant(material, seed=SEED + 1, number=n) for n in range(50)]
    assert sum(a.data == b.data for a, b in zip(first, others, strict=True)) < 3


def test_mutants_are_many_kinds_of_wrong_and_none_is_huge(material: Material) -> None:
    mutants = [make_mutant(material, seed=SEED, number=n) for n in range(1000)]
    by_name = {sample.name: sample.data for sample in material.samples}
    steps = Counter(step for m in mutants for step in m.steps)
    assert set(steps) == {name for name, _ in CHANGES}
    assert sum(m.data != by_name[m.sample] for m in mutants) > 950
    assert max(len(m.data) for m in mutants) <= MAX_BYTES
    # most are still taken for what they were: a mutant that is refused at the door tests the door alone
    assert sum(m.data[:4] == by_name[m.sample][:4] for m in mutants) > 500


@pytest.mark.parametrize("name", [name for name, _ in CHANGES])
def test_every_change_takes_empty_and_tiny_files(name: str, material: Material) -> None:
    change = dict(CHANGES)[name]
    for size in (0, 1, 2, 7, 64):
        for number in range(20):
            data = bytearray(range(size))
            change(data, random_of(SEED, number, name), material)


def test_media_that_name_other_files_are_among_them(material: Material) -> None:
    names = references(CANARY, "127.0.0.1:12345")
    assert all(CANARY.encode() in name or b"12345" in name for name in names)
    found = sum(
        CANARY.encode() in m.data or b"127.0.0.1:12345" in m.data
        for m in (make_mutant(material, seed=SEED, number=n) for n in range(3000))
    )
    assert found > 15


def test_an_upload_holds_all_of_its_mutant_once(material: Material) -> None:
    words = Material(tuple(word_samples()), material.words)
    uploads = [make_upload(material, words, seed=SEED, number=n) for n in range(300)]
    for upload in uploads:
        data = bytearray(len(upload.mutant.data))
        for offset, piece in upload.chunks:
            data[offset : offset + len(piece)] = piece
        assert bytes(data) == upload.mutant.data
        assert upload.size_bytes in (None, len(data))
        in_order = [offset for offset, _ in upload.chunks] == sorted(offset for offset, _ in upload.chunks)
        assert in_order or upload.size_bytes is not None
    assert {u.mode for u in uploads} == {"encoded", "subtitles", "text"}
    assert {u.sampling for u in uploads} == {"keyframes", "uniform"}
    assert any(u.live for u in uploads)
    assert any(u.first_index for u in uploads)


# Calls


@pytest.fixture(scope="module")
def scripts(made: list[Sample]):  # type: ignore[no-untyped-def]
    stored = [
        pb.Segment(
            index=n,
            start_s=8.0 * n,
            end_s=8.0 * n + 8,
            present=pb.Presence(visual=True),
            vector=[0.02] * 1788,
        )
        for n in range(2)
    ]
    return make_scripts(rpc_media(made), stored, "0" * 64)


def test_a_call_is_made_of_its_two_numbers_alone(scripts, material: Material) -> None:  # type: ignore[no-untyped-def]
    first = [make_call(scripts, material, seed=SEED, number=n) for n in range(100)]
    digests = [hashlib.sha256(call.to_bytes()).digest() for call in first]
    again = [make_call(scripts, material, seed=SEED, number=n).to_bytes() for n in range(100)]
    assert digests == [hashlib.sha256(data).digest() for data in again]


def test_calls_go_to_every_method_and_end_in_every_way(scripts, material: Material) -> None:  # type: ignore[no-untyped-def]
    calls = [make_call(scripts, material, seed=SEED, number=n) for n in range(1500)]
    methods = Counter(call.method.rpartition("/")[2] for call in calls)
    assert {"EmbedMedia", "EmbedQuery", "FuseTitle", "GetSpace", "GetStatus", "Check", "Watch"} <= set(
        methods
    )
    assert {call.end for call in calls} == set(End)
    assert any(len(call.messages) > 1000 for call in calls)
    sizes = [sum(map(len, call.messages)) for call in calls]
    assert sum(size > MOST_BYTES for size in sizes) == sum("too large" in call.changes for call in calls)
    assert max(sizes) < TOO_LARGE_BYTES + MOST_BYTES
    good = {tuple(m.SerializeToString() for m in script.messages) for script in scripts}
    assert sum(call.messages in good for call in calls) < 225


# What is watched


def test_the_canary_tells_when_it_is_touched() -> None:
    with Canary() as canary:
        assert canary.touches() == []
        Path(canary.path).read_bytes()
        assert any("touched.mp4" in touch for touch in canary.touches())
        host, port = canary.address.split(":")
        socket.create_connection((host, int(port))).close()
        assert any("connection" in touch for touch in canary.touches())
        assert canary.touches() == []


LOG = """\
100 openat(AT_FDCWD, "/usr/lib/libav.so", O_RDONLY|O_CLOEXEC) = 3
100 clone(child_stack=0x7f, flags=CLONE_VM|CLONE_THREAD|CLONE_SETTLS, parent_tid=[101]) = 101
100 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD <unfinished ...>
200 seccomp(SECCOMP_SET_MODE_FILTER, 0, {len=40}) = 0
100 seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, NULL) = -1 EFAULT (Bad address)
100 <... clone resumed>, child_tidptr=0x7f) = 200
100 openat(AT_FDCWD, "/tmp", O_RDWR|O_TMPFILE, 0600) = 5
200 clone(child_stack=0x7f, flags=CLONE_VM|CLONE_THREAD|CLONE_SETTLS <unfinished ...>
201 prctl(PR_SET_NAME, "resonance-read") = 0
200 <... clone resumed>, parent_tid=[201]) = 201
100 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f) = 300
300 seccomp(SECCOMP_SET_MODE_FILTER, 0, {len=40}) = 0
300 +++ killed by SIGKILL +++
100 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f) = 300
300 openat(AT_FDCWD, "/proc/self/statm", O_RDONLY|O_CLOEXEC) = 6
"""


def test_what_is_asked_for_before_the_seal_or_outside_of_it_is_nobodys_business() -> None:
    seen = attempts_after_sealing(LOG.splitlines())
    assert (seen.sealed, seen.attempts) == (2, Counter())


@pytest.mark.parametrize("thread", ["200", "201"])
def test_what_a_sealed_process_or_a_thread_of_it_asks_for_is_seen(thread: str) -> None:
    asked = f'{thread} openat(AT_FDCWD, "/etc/passwd", O_RDONLY) = -1 EPERM (Operation not permitted)'
    seen = attempts_after_sealing([*LOG.splitlines(), asked])
    assert list(seen.attempts.values()) == [1]
    assert "/etc/passwd" in next(iter(seen.attempts))


def test_a_finding_keeps_its_input(tmp_path: Path) -> None:
    tally = Tally("demux", tmp_path)
    tally.record(7, "hang", 11.0)
    tally.find(7, "hang", "over 10 s", b"input")
    told = tally.to_json()
    assert told["findings"] == [{"number": 7, "kind": "hang", "about": "over 10 s"}]
    assert (told["slowest_s"], told["slowest_number"]) == (11.0, 7)
    assert (tmp_path / "demux-7.bin").read_bytes() == b"input"


# The real parts


async def test_clips_of_all_codecs_mutated(
    made: list[Sample], descriptor: Descriptor, model_repository: Path, tmp_path: Path
) -> None:
    samples = clip_samples(made, descriptor)
    codecs = {clip_from_bytes(sample.data).codec for sample in samples}
    assert {"h264", "hevc", "vp8", "vp9", "mpeg4", "mjpeg", "ffv1"} <= codecs
    path = tmp_path / "clips"
    write_samples(samples, path)
    assert list(read_samples(path)) == samples
    assert make_clip(Material(tuple(samples), (b"x",)), seed=SEED, number=1)
    tally = Tally("clips", tmp_path / "found")
    space = model_repository / SPACE
    await fuzz_clips(tally, path, space, seed=SEED, numbers=range(500), workers=2, tick=always)
    assert tally.findings == []
    assert tally.inputs == 500
    assert tally.outcomes["ok"] > 100


async def test_a_worker_that_dies_is_a_finding_and_the_rest_goes_on(tmp_path: Path) -> None:
    """The worker dies at once, for want of a space; each number is told once."""
    samples = tmp_path / "clips"
    clip = Clip("h264", b"", 16, 16, 0, (1, 1), (Packet(0.0, b"x"),), 1)
    write_samples([Sample("one", clip_to_bytes(clip))], samples)
    tally = Tally("clips", tmp_path / "found")
    await fuzz_clips(tally, samples, tmp_path / "no", seed=1, numbers=range(2), workers=2, tick=always)
    assert [finding.kind for finding in tally.findings] == ["exit 1", "exit 1"]
    assert sorted(finding.number for finding in tally.findings) == [0, 1]


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        ("read", "fine"),
        ("NotMediaError", "fine"),
        ("fault KeyError: 'x' at words.py:12", "finding"),
        ("died reading SIGSEGV", "contained"),
        ("died reading SIGSYS", "finding"),
        ("died reading status 1", "finding"),
        ("died decoding SIGSEGV", "finding"),
    ],
)
def test_what_a_process_of_its_own_contains(outcome: str, verdict: str) -> None:
    assert judge_read(outcome)[1] == verdict


async def test_uploads_in_bulk_mutated(
    made: list[Sample], media: Path, model_repository: Path, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    write_samples([*made, *odd_samples(media)], files)
    tally = Tally("sealed", tmp_path / "found")
    with Canary() as canary:
        await fuzz_sealed(
            tally,
            files,
            model_repository / SPACE,
            canary,
            seed=SEED,
            numbers=range(600),
            workers=2,
            tick=always,
        )
    assert tally.findings == []
    assert tally.inputs == 600
    assert tally.outcomes["read"] > 150


def odd_samples(media: Path) -> list[Sample]:
    return [Sample(p.name, cut(p.read_bytes())) for p in sorted((media / "odd").iterdir())]


async def test_uploads_of_all_kinds_mutated(
    made: list[Sample], media: Path, descriptor: Descriptor, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    tally = Tally("demux", tmp_path / "found")
    with Canary() as canary:
        words = dictionary(canary.path, canary.address)
        await fuzz_demux(
            tally,
            Reader(descriptor, spool),
            canary,
            Material((*made, *odd_samples(media)), words),
            Material(tuple(word_samples()), words),
            seed=SEED,
            numbers=range(150),
            at_once=2,
            tick=always,
        )
    assert tally.findings == []
    assert tally.inputs == 150
    assert tally.outcomes["read"] > 30
    assert sum(count for outcome, count in tally.outcomes.items() if outcome.startswith("NotMedia")) > 10


async def test_calls_of_all_methods_mutated(
    made: list[Sample], model_repository: Path, server: TritonServer, tmp_path: Path
) -> None:
    tally = Tally("rpc", tmp_path / "found")
    with Canary() as canary, Stack(model_repository, triton=server, limits=RPC_LIMITS) as stack:
        await fuzz_rpc(
            tally,
            stack,
            rpc_media(made),
            dictionary(canary.path, canary.address),
            seed=SEED,
            numbers=range(400),
            at_once=8,
            tick=always,
        )
        assert canary.touches() == []
        log = (stack.spool / "gateway.log").read_text(encoding="utf-8")
    assert tally.findings == [], log[-3000:]
    assert tally.inputs == 400
    assert tally.figures["good_calls"] >= 3
    assert tally.outcomes["EmbedMedia OK"] > 15
    assert tally.outcomes["EmbedMedia INVALID_ARGUMENT"] > 60


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace on this machine")
def test_a_reader_asks_for_nothing_outside_seen_by_strace(media: Path, model_repository: Path) -> None:
    seen = trace_demux(inputs=8, seed=SEED, media=media, repository=model_repository)
    if seen is None:
        pytest.skip("strace may not trace on this machine")
    assert seen.sealed >= 8
    assert seen.attempts == Counter()
