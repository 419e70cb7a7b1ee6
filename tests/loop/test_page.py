from html.parser import HTMLParser

import pytest

from loop import cycles
from loop.cycle_facts import read_cycle_facts
from loop.page import cycle_page
from loop.places import Places
from loop.scenario import read_suite
from loop.tables import CycleOutcome
from loop.values import CycleRef
from tests.factories import empty_places
from tests.whole_cycles import gate, keep_forms, learn, mark_stages, open_cycle

GATES = f"Gates: suite core, {len(read_suite('core'))} scenarios"
VOID = {"meta", "link", "br", "path"}


class Reader(HTMLParser):
    """What a browser would make of a page: its open tags, text, headings and what it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.headings: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        named = {name: value or "" for name, value in attrs}
        self.loads += [named["src"]] if "src" in named else []
        self.loads += [named["href"]] if tag == "link" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data
        if self.open and self.open[-1] == "h2":
            self.headings.append(data.strip())


def read(places: Places, cycle: CycleRef) -> Reader:
    return Reader(cycle_page(places.settings, read_cycle_facts(places, cycle)))


@pytest.fixture(scope="module")
def page(released):
    return cycle_page(released[0].settings, read_cycle_facts(*released))


@pytest.fixture
def places(tmp_path):
    made = empty_places(tmp_path)
    yield made
    made.store.dispose()


def test_the_page_is_whole_and_loads_nothing(page):
    found = Reader(page)

    assert found.open == []
    assert found.loads == ["data:,"]  # an empty icon, so that no browser asks for one
    assert not {"script", "img", "iframe", "object"} & found.tags
    assert "@import" not in page
    assert "url(" not in page.replace("url(#", "")


def test_the_page_tells_the_whole_story_of_a_release(page):
    found = Reader(page)

    assert [heading for heading in found.headings if heading] == [
        "Stages",
        "What was learnt",
        "Training",
        GATES,
        "What still goes wrong",
        "Canary",
        "Sign-off",
        "Release 2",
        "Where everything is",
    ]
    assert page.count("<svg ") == 3
    for needed in ("released", "with simulated people", "never for real devices", "gate-artifact"):
        assert needed in found.text


def test_words_of_a_model_stay_words(page):
    found = Reader(page)

    assert "<b>disk</b> full & more" in found.text
    assert "<b>disk" not in page


def test_the_form_that_lost_a_scenario_is_named(released):
    found = read(*released)

    assert "adapter, merged, gguf Q8_0" in found.text


def test_a_page_of_a_cycle_that_waits_for_labels_has_no_empty_sections(places):
    cycle = open_cycle(places)
    mark_stages(places, cycle, until="ingest")
    found = read(places, cycle)

    assert found.headings == ["Stages", "Where everything is"]


def test_a_page_shows_whatever_an_unfinished_cycle_has(places):
    cycle = open_cycle(places)
    dataset = learn(places, cycle, 60)
    mark_stages(places, cycle, until="freeze")
    frozen = read(places, cycle)
    forms = keep_forms(places, cycle, dataset)
    mark_stages(places, cycle, until="train")
    trained = read(places, cycle)
    gate(places, forms["adapter"], wrong=range(20), forbidden=(30,))
    gated = read(places, cycle)

    assert frozen.headings == ["Stages", "What was learnt", "Where everything is"]
    assert trained.headings[2] == "Training"
    assert gated.headings[3:5] == [GATES, "What still goes wrong"]
    assert "none allowed" in gated.text
    assert "9 more scenarios" in gated.text


def test_a_rejected_cycle_says_why(places):
    cycle = open_cycle(places)
    cycles.end_cycle(
        places, cycle, cycles.Ending(CycleOutcome.REJECTED, "held: severity <84 %, expected more")
    )
    found = read(places, cycle)

    assert "Held: severity <84 %, expected more" in found.text
    assert "rejected" in found.text


def test_a_cycle_judged_by_real_people_only_does_not_speak_of_simulated_ones(places):
    cycle = open_cycle(places)

    assert "simulated" not in read(places, cycle).text
