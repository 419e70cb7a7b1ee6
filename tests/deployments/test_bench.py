import json
import re

import pytest
from rich.console import Console

from deployments import bench, bench_intake, bench_scan
from deployments.bench_result import percentile
from loop.upload import parse_upload

PAGE = "# A\n<!-- scan: written by `make bench` -->\nold\n<!-- /scan -->\nB\n"


def test_a_bench_replaces_its_own_part_of_the_page_alone():
    page = bench.with_block(PAGE, "scan", "new\ntwo lines")

    assert page == PAGE.replace("old", "new\ntwo lines")
    assert bench.with_block(page, "scan", "old") == PAGE


def test_a_page_without_marks_is_an_error_and_not_an_empty_page():
    with pytest.raises(ValueError, match="expected the marks"):
        bench.with_block("# A\n", "scan", "new")


@pytest.mark.parametrize("name", bench.BENCHES)
def test_every_bench_has_its_place_on_the_page(name):
    assert "text" in bench.with_block(bench.PAGE.read_text(), name, "text")


def test_a_ratio_that_is_not_kept_fails_and_names_itself():
    assert list(bench_scan._failures(gain=20, json_times=10)) == []
    assert len(list(bench_scan._failures(gain=2, json_times=60))) == 2
    assert list(bench_intake._failures(of_ceiling=0.5, of_twin=0.9)) == []
    assert len(list(bench_intake._failures(of_ceiling=0.01, of_twin=0.1))) == 2


def test_a_measurement_of_the_rules_is_a_table_with_a_sentence_below(monkeypatch):
    monkeypatch.setattr(bench_scan, "SESSIONS", 3)
    monkeypatch.setattr(bench_scan, "LONG_TIMES", 2)
    lines = bench_scan.measure(Console()).text.splitlines()

    assert lines[0].startswith("3 generated sessions, ")
    assert lines[2:4] == ["| | MB/s |", "|---|---:|"]
    assert (
        len([line for line in lines[4:] if re.fullmatch(r"\| [a-zA-Z ,]+ \| \d+\.\d \|", line)])
        == 6
    )
    assert re.fullmatch(r"One pass is .+ times as fast .+ percentile of 2\.", lines[-1])


def test_the_rules_one_by_one_refuse_to_measure_what_is_not_clean():
    leaky = {"user_comment": "write to ola@example.org", "events": []}

    bench_scan._one_by_one({"user_comment": "all is well", "events": []})
    with pytest.raises(ValueError, match="mail"):
        bench_scan._one_by_one(leaky)


def test_the_uploads_of_the_bench_are_valid_large_enough_and_all_different():
    bodies = list(bench_intake._bodies(1))
    ids = {parse_upload(body).upload_id for body in bodies}

    assert len(ids) == len(bodies) == bench_intake.UPLOADS
    assert min(map(len, bodies)) >= bench_intake.BYTES
    assert json.loads(bodies[0])["events"]


def test_a_percentile_is_one_of_the_values():
    assert percentile([5.0, 1.0, 2.0], 0.01) == 1.0
    assert percentile([5.0, 1.0, 2.0], 0.99) == 5.0
