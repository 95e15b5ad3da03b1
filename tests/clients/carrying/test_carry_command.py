"""`resonance carry` and `resonance carry-taste` as a person calls them, on real stores."""

from __future__ import annotations

import gc
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from resonance.clients.carrying.files import CarryFile, load_carrying, save_carrying
from resonance.clients.carrying.fitting import FEWEST_MATCHED, fit_move
from resonance.clients.carrying.matching import match_titles
from resonance.clients.carrying.reporting import MEASURES
from resonance.clients.cli.audit_options import is_known
from resonance.clients.cli.carry import FEWEST, carry, carry_taste
from resonance.clients.discovery.taste import Counted, Taste, load_taste, save_taste
from resonance.clients.errors import UsageError
from resonance.clients.ingest.stores import open_store
from resonance.clients.results import SpaceRef
from resonance.space import Blend, Weights, join, query_from_vector, score
from resonance.space.carrying import Carrying
from resonance.space.scores import own_sigmas
from tests.clients.carrying.two_spaces import NEW, OLD, TITLES, new_blocks, old_blocks, write_titles
from tests.small_disk import disk_of

BLOCKS = old_blocks()
TRUE = new_blocks(BLOCKS)

app = typer.Typer()
app.command("carry")(carry)
app.command("carry-taste")(carry_taste)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The old store `old`, the same titles embedded again in `new`, and both descriptors."""
    here = tmp_path_factory.mktemp("carry")
    write_titles(str(here / "old"), OLD, BLOCKS)
    write_titles(str(here / "new"), NEW, TRUE)
    (here / "old.json").write_text(OLD.to_json())
    (here / "new.json").write_text(NEW.to_json())
    return here


def called(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def carried(folder: Path) -> dict[str, Any]:
    spaces = ("--old-space", folder / "old.json", "--new-space", folder / "new.json")
    found = called(
        *("carry", folder / "old", folder / "new", "-o", folder / "carry.npz", "--threshold", 1.2),
        *(*spaces, "--json", "--html", folder / "carry.html"),
    )
    assert found.exit_code == 0, found.output
    report: dict[str, Any] = json.loads(found.stdout)
    return report


def measures(report: dict[str, Any]) -> dict[str, Any]:
    return {m["name"]: m for section in report["sections"] for m in section["measures"]}


def test_a_move_finds_the_new_neighbours_and_says_how_many_before_and_after(carried: dict[str, Any]) -> None:
    found = measures(carried)
    assert [name for name in found if not is_known(name, MEASURES)] == []
    after, before = found["carried_overlap_at_10"], found["unaligned_overlap_at_10"]
    assert after["value"] > before["value"] + 0.2
    assert after["interval"][0] < after["value"] < after["interval"][1]
    assert before["value"] < 0.2
    assert found["own_title_median_rank"]["value"] <= 2
    assert found["cosine_visual"]["value"] > 0.5
    assert carried["titles_in_both"] == TITLES
    assert carried["fitted_on"] + carried["held_out"] < TITLES  # the variant was chosen by others


def test_the_report_stands_beside_the_map(folder: Path, carried: dict[str, Any]) -> None:
    assert json.loads((folder / "carry.json").read_text()) == carried
    assert "carried_overlap_at_10" in (folder / "carry.html").read_text()
    file = load_carrying(folder / "carry.npz")
    assert (file.old_space, file.new_space) == (SpaceRef.of(OLD), SpaceRef.of(NEW))
    cosines = (file.carrying.blocks(BLOCKS) * TRUE).sum(-1)
    assert cosines.mean() == pytest.approx(measures(carried)["cosine_visual"]["value"], abs=0.2)


def test_a_threshold_takes_as_many_pairs_in_the_new_space(carried: dict[str, Any]) -> None:
    found = measures(carried)["threshold_1.2"]
    pairs = np.triu_indices(TITLES, 1)

    def share(blocks: np.ndarray, space: Any, threshold: float) -> float:
        scores = [
            score(query_from_vector(v, space), Weights(), join(blocks))
            for v in join(blocks[:40]).astype("f4")
        ]
        others = np.arange(TITLES)[None] > np.arange(40)[:, None]
        return float((np.stack(scores)[others] >= threshold).mean())

    assert len(pairs[0]) > 100_000
    assert share(TRUE, NEW, found["value"]) == pytest.approx(share(BLOCKS, OLD, 1.2), abs=0.03)
    assert found["interval"][0] <= found["value"] <= found["interval"][1]


def test_a_wrong_pairing_is_refused_with_the_number(folder: Path, tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(TITLES)
    write_titles(str(tmp_path / "wrong"), NEW, TRUE[order])
    out = tmp_path / "wrong.npz"
    found = called("carry", folder / "old", tmp_path / "wrong", "-o", out)
    assert found.exit_code == 1
    assert "refused" in found.stderr
    assert "carried_overlap_at_10: expected at least 0.2; came 0.0" in found.stderr
    assert not out.exists()


def test_a_wrong_pairing_of_copies_is_refused(tmp_path: Path) -> None:
    """Of two copies of each film one would be fitted on and the other would tell the loss, by heart."""
    order = np.random.default_rng(0).permutation(200)
    write_titles(str(tmp_path / "old"), OLD, np.concatenate([BLOCKS[:200]] * 2))
    write_titles(str(tmp_path / "wrong"), NEW, np.concatenate([TRUE[:200][order]] * 2))
    done = called("carry", tmp_path / "old", tmp_path / "wrong", "-o", tmp_path / "w.npz", "--json")
    assert done.exit_code == 1, done.output
    report = json.loads(done.stdout)
    assert measures(report)["own_title_first"]["value"] < 0.05  # 0.13 with the copies
    assert (report["titles_in_both"], report["titles_looked_at"]) == (400, 200)
    assert not (tmp_path / "w.npz").exists()


@pytest.mark.parametrize("mute", [0, 1])
def test_a_copy_with_nothing_in_common_stands_for_no_other(mute: int, tmp_path: Path) -> None:
    seen = [(True, at != mute, at != mute) for at in range(2)]
    heard = [(at != mute, True, True) for at in range(2)]
    write_titles(str(tmp_path / "old"), OLD, np.concatenate([BLOCKS[:1]] * 2), present=seen)
    write_titles(str(tmp_path / "new"), NEW, np.concatenate([TRUE[:1]] * 2), present=heard)
    with closing(open_store(str(tmp_path / "old"))) as old, closing(open_store(str(tmp_path / "new"))) as new:
        assert match_titles(old, new).media_ids == (f"t{1 - mute}",)


def test_a_limit_that_is_broken_refuses_too(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.npz"
    arguments = ("carry", folder / "old", folder / "new", "-o", out, "--limit", "own_title_first>=1.01")
    found = called(*arguments)
    assert found.exit_code == 1
    assert "own_title_first: expected at least 1.01; came" in found.stderr
    assert not out.exists()
    for other in ("c.json", "c.txt", "c"):  # the first is where the report goes
        refused = called(*arguments[:4], tmp_path / other)
        assert refused.exit_code == 2
        assert ".npz" in refused.stderr


def test_titles_of_other_media_or_another_store_are_left_out(folder: Path, tmp_path: Path) -> None:
    count = 300
    names = [f"t{at}" if at < 200 else f"new{at}" for at in range(count)]
    versions = ["v" if at >= 50 else "another" for at in range(count)]
    write_titles(str(tmp_path / "part"), NEW, TRUE[:count], names=names, versions=versions)
    found = called(
        "carry", folder / "old", tmp_path / "part", "-o", tmp_path / "c.npz", "--json", "--floor", 0
    )
    report = json.loads(found.stdout)
    assert (report["titles_in_both"], report["titles_of_other_media"]) == (150, 50)
    assert found.exit_code == 0


def test_blocks_that_a_store_inferred_are_not_fitted_on(folder: Path, tmp_path: Path) -> None:
    """Sound that only the old store has is noise in the new one: it must not spoil the map."""
    spoilt = TRUE.copy()
    spoilt[:, 1] = new_blocks(BLOCKS, noise=50.0, seed=9)[:, 1]
    write_titles(str(tmp_path / "mute"), NEW, spoilt, present=[(True, False, True)] * TITLES)
    out = tmp_path / "mute.npz"
    found = called("carry", folder / "old", tmp_path / "mute", "-o", out, "--json", "--floor", 0)
    assert found.exit_code == 0, found.output
    assert "cosine_audio" not in measures(json.loads(found.stdout))
    (note,) = json.loads(found.stdout)["notes"]
    assert note.startswith("A rotation a block was not tried: of the")
    assert "0 have audio" in note
    cosines = (load_carrying(out).carrying.blocks(BLOCKS) * TRUE).sum(-1)
    assert cosines[:, 0].mean() > 0.5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("old", "old"), "nothing to carry"),
        (("old", "new", "--threshold", "1"), "--old-space"),
        (("old", "new", "--threshold", "99", "--old-space", "old.json", "--new-space", "new.json"), "0 of"),
        (("old", "new", "--variant", "wild"), "one rotation, centred"),
        (("old", "new", "--titles", "60"), "greater than or equal to 150"),
    ],
)
def test_wrong_use_ends_with_2(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(folder)
    found = called("carry", *arguments, "-o", "none.npz")
    assert found.exit_code == 2
    assert said in " ".join(found.stderr.replace("│", " ").split())
    assert not (folder / "none.npz").exists()


def test_few_titles_are_refused(folder: Path) -> None:
    assert FEWEST == FEWEST_MATCHED
    with closing(open_store(str(folder / "old"))) as old, closing(open_store(str(folder / "new"))) as new:
        matched = match_titles(old, new, 60)
    with pytest.raises(UsageError, match="60 titles stand in both stores unchanged; expected at least 150"):
        fit_move(matched)


def test_a_taste_is_carried(folder: Path, carried: dict[str, Any], tmp_path: Path) -> None:
    """It ranks the new store as the taste of the same titles embedded again does, and unlike what it was."""
    rows, amounts = [3, 40, 77], [1.0, 0.6, -0.2]

    def taste_of(blocks: np.ndarray, space: Any) -> Taste:
        blend = Blend.of([query_from_vector(v, space) for v in join(blocks[rows])], amounts)
        counted = tuple(Counted(f"t{at}", float(s)) for at, s in zip(rows, blend.shares, strict=True))
        return Taste(SpaceRef.of(space), blend.query(), own_sigmas(space), 150.0, counted)

    save_taste(taste_of(BLOCKS, OLD), tmp_path / "taste.json")
    out = tmp_path / "new-taste.json"
    space = ("--new-space", folder / "new.json")
    found = called("carry-taste", folder / "carry.npz", tmp_path / "taste.json", "-o", out, *space)
    assert found.exit_code == 0, found.output
    new = load_taste(out, NEW)
    assert [c.media_id for c in new.counted] == ["t3", "t40", "t77"]

    library = join(TRUE)
    true, after, before = (
        np.argsort(-score(taste.query, Weights(), library))[:20]
        for taste in (taste_of(TRUE, NEW), new, taste_of(BLOCKS, OLD))
    )
    assert len(set(true) & set(after)) >= 10 > len(set(true) & set(before)) + 5

    swapped = ("--new-space", folder / "old.json")
    refused = called("carry-taste", folder / "carry.npz", tmp_path / "taste.json", "-o", out, *swapped)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("the new space's space.json: space ")
    refused = called("carry-taste", folder / "carry.npz", out, "-o", tmp_path / "again.json", *space)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("the taste: space ")


def test_what_is_read_or_no_report_is_not_written_over(folder: Path, tmp_path: Path) -> None:
    for name in ("old.json", "new.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "taste.json").write_text('{"blocks": []}')
    spaces = ("--old-space", tmp_path / "old.json", "--new-space", tmp_path / "new.json")
    carried, taste = folder / "carry.npz", tmp_path / "taste.json"
    stores = ("carry", folder / "no store", folder / "no store")
    for arguments in (
        (*stores, "-o", tmp_path / "old.npz", *spaces),
        (*stores, "-o", tmp_path / "taste.npz"),
        (*stores, "-o", tmp_path / "c.npz", "--html", tmp_path / "new.json", *spaces),
        ("carry-taste", carried, taste, "-o", taste, *spaces[2:]),
        ("carry-taste", carried, taste, "-o", tmp_path / "new.json", *spaces[2:]),
    ):
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        refused = called(*arguments)
        assert refused.exit_code == 2, arguments
        assert "take" in refused.stderr
        assert "place" in refused.stderr
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_report_of_an_earlier_run_is_replaced(
    folder: Path, tmp_path: Path, carried: dict[str, Any]
) -> None:
    (tmp_path / "c.json").write_text(json.dumps({**carried, "titles_in_both": 1}))
    found = called("carry", folder / "old", folder / "new", "-o", tmp_path / "c.npz")
    assert found.exit_code == 0, found.output
    assert json.loads((tmp_path / "c.json").read_text())["titles_in_both"] == TITLES


def test_a_file_that_is_no_map_is_told(tmp_path: Path) -> None:
    wrong = tmp_path / "carry.npz"
    wrong.write_bytes(b"not a map")
    with pytest.raises(UsageError, match="expected a file that `resonance carry` wrote"):
        load_carrying(wrong)
    np.savez(wrong, facts=np.array(json.dumps({"format": "resonance-carry", "version": 2})))
    with pytest.raises(UsageError, match="version 2"):
        load_carrying(wrong)
    with pytest.raises(UsageError, match="cannot be read"):
        load_carrying(tmp_path / "gone.npz")


def test_a_map_with_a_byte_changed_is_told_or_read(
    folder: Path, tmp_path: Path, carried: dict[str, Any]
) -> None:
    whole, broken = (folder / "carry.npz").read_bytes(), tmp_path / "carry.npz"
    chance = np.random.default_rng(3)
    refused = 0
    for at, value in zip(chance.integers(len(whole), size=60), chance.integers(1, 256, 60), strict=True):
        broken.write_bytes(whole[:at] + bytes([whole[at] ^ value]) + whole[at + 1 :])
        try:
            load_carrying(broken)
        except UsageError:
            refused += 1
    assert refused > 30


def test_a_map_that_finds_no_room_leaves_the_one_before(tmp_path: Path) -> None:
    """In one line: what numpy's archive said of itself afterwards would fail this as unraisable."""
    path = tmp_path / "carry.npz"
    path.write_bytes(b"of before")
    means = np.zeros((3, 596))
    move = Carrying(np.linalg.qr(np.random.default_rng(1).standard_normal((596, 596)))[0][None], means, means)
    spaces = (SpaceRef(name, 64 * "0", True) for name in ("old", "new"))
    with disk_of(4096), pytest.raises(UsageError, match="cannot be written"):
        save_carrying(CarryFile(move, *spaces), path)
    gc.collect()
    assert path.read_bytes() == b"of before"
    assert list(tmp_path.iterdir()) == [path]
