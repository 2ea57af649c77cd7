"""The page in a real Chromium: a picture comes in, its explanation grows, a part is hidden."""

import dataclasses
import json
import shutil

import pytest

from tests.report import chromium

from .conftest import photo
from .serving import served

pytestmark = pytest.mark.skipif(chromium.find() is None, reason="no Chromium is installed here")
PATIENCE = 120.0
"""seconds; the machine may be busy"""


@pytest.fixture(scope="module")
def address(run):
    from protomask.serve.of_run import RunSubject

    with served(RunSubject(run)) as address:
        yield address


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"picture {number}.png" for number in range(2)]
    for number, path in enumerate(paths):
        path.write_bytes(photo(number, size=(96, 64)))
    return paths


def texts(browser, selector):
    return browser.run(f"[...document.querySelectorAll({selector!r})].map((each) => each.textContent)")


def ready(browser, address):
    browser.open(address)
    assert browser.until("document.body.dataset.ready === 'true'", PATIENCE)


def asked_elsewhere(browser, address):
    home = address.split("#")[0]
    return [each for each in browser.requests if not each.startswith((home, "data:", "blob:"))]


def test_a_picture_is_explained_and_hiding_a_part_changes_the_answer(address, files):
    with chromium.Browser() as browser:
        ready(browser, address)
        assert browser.run("location.hash") == ""  # the key does not stay in the address
        browser.choose_files("#files", *files)
        assert browser.until("document.querySelectorAll('[data-answered]').length === 2", PATIENCE)
        assert browser.until("document.querySelectorAll('[data-done]').length === 2", PATIENCE)
        lines = len(texts(browser, ".match"))
        assert 2 * 2 <= lines <= 2 * 6  # as many as carry 90 % of the points, and one for the runner-up
        assert browser.run("document.querySelectorAll('.match .outline').length") >= lines
        before = texts(browser, ".card .number")[0]
        browser.run("document.querySelector('.tools button').click()")
        browser.run("document.querySelector('.pic.large').scrollIntoView({block: 'center'})")
        x, y, width, height = json.loads(
            browser.run(
                "(({x, y, width, height}) => JSON.stringify([x, y, width, height]))"
                "(document.querySelector('.paint').getBoundingClientRect())"
            )
        )
        browser.drag((x + 0.2 * width, y + 0.3 * height), (x + 0.5 * width, y + 0.3 * height))
        assert browser.until("!document.querySelector('.after').hidden", PATIENCE)
        assert texts(browser, ".after tbody td")[0] == before
        assert "of the picture hidden" in texts(browser, ".after p")[0]
        browser.run(
            "[...document.querySelectorAll('.more button')].find((each) => /all/.test(each.textContent)).click()"
        )
        assert browser.until("document.querySelector('.after').hidden", PATIENCE)
        browser.run("document.querySelector('#beside').click()")
        one, other = browser.run("[...document.querySelectorAll('.card')].map((each) => each.offsetTop)")
        assert one == other
        assert browser.problems == [] and asked_elsewhere(browser, address) == []


def test_an_error_leaves_the_files_name_as_it_is(address, tmp_path):
    names = ("s16.tif", "scan of today", "pic one.png")
    for name in names:
        (tmp_path / name).write_bytes(b"no picture")
    with chromium.Browser() as browser:
        ready(browser, address)
        browser.choose_files("#files", *(tmp_path / name for name in names))
        assert browser.until("document.querySelectorAll('.card.failed').length === 3", PATIENCE)
        said = texts(browser, ".card .status")
        assert all(any(line.startswith(f"{name}: ") for line in said) for name in names), said


def test_a_line_without_points_gets_those_that_hiding_a_part_gives_it(run, files):
    from protomask.serve.of_run import RunSubject

    class FromNothing(RunSubject):
        """Nothing in the picture resembles anything, until a part is hidden."""

        def _line(self, match, asked):
            return super()._line(dataclasses.replace(match, similarity=0.0, points=0.0), asked)

        def look_again(self, asked, images):
            found = super().look_again(asked, images)
            return {**found, "similarity": dict.fromkeys(found["similarity"], 2.0)}

    subject = FromNothing(run, "similarity")
    asked = subject.read("a.png", files[0].read_bytes())
    weights = [each["weight"] for each in subject.answer(asked)["questions"][0]["matches"]]
    with served(subject) as address, chromium.Browser() as browser:
        ready(browser, address)
        browser.choose_files("#files", files[0])
        assert browser.until("document.querySelectorAll('[data-done]').length === 1", PATIENCE)
        legend = texts(browser, ".legend")[0]
        assert "Nothing is outlined here: its score is no higher than that of an empty image" in legend
        assert legend.count("The similarity map is the prototype's similarity to each cell") == 1
        browser.run("document.querySelector('.tools button').focus()")
        browser.press("Enter")
        browser.press(" ")
        assert browser.until("!document.querySelector('.after').hidden", PATIENCE)
        now = texts(browser, ".points")[: len(weights)]
        assert now == [f"+0.0 now {2 * weight:+.1f}" for weight in weights]
        assert browser.problems == []


def test_everything_works_by_keyboard_alone(address, files):
    with chromium.Browser() as browser:
        ready(browser, address)
        browser.choose_files("#files", files[0])
        assert browser.until("document.querySelectorAll('[data-done]').length === 1", PATIENCE)
        browser.run("document.querySelector('.tools button').focus()")
        browser.press("Enter")
        assert browser.run("document.activeElement.className") == "paint"
        browser.press("ArrowLeft")
        browser.press(" ")
        assert browser.until("!document.querySelector('.after').hidden", PATIENCE)
        browser.press("Escape")
        assert browser.run("document.querySelector('.paint').hidden")
        last = browser.run("document.querySelectorAll('.match').length") - 1
        browser.run(f"document.querySelectorAll('.match')[{last}].focus()")
        pressed = "[...document.querySelectorAll('.match')].map((each) => each.ariaPressed)"
        assert browser.run(pressed) == ["false"] * last + ["true"]


def test_a_wrong_file_and_a_missing_key_are_told_in_words(address, tmp_path):
    (tmp_path / "words.png").write_text("no picture")
    with chromium.Browser() as browser:
        ready(browser, address)
        browser.choose_files("#files", tmp_path / "words.png")
        assert browser.until("!!document.querySelector('.failed')", PATIENCE)
        assert "cannot be read as an image" in texts(browser, ".status")[0]
    with chromium.Browser() as browser:
        browser.open(address.split("#")[0])
        assert browser.until("!document.querySelector('#locked').hidden", PATIENCE)
        assert browser.run("document.querySelector('#view-pictures').hidden")


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_nothing_is_wider_than_the_screen(address, files, dark):
    with chromium.Browser(390, 800, dark=dark, phone=True) as phone:
        ready(phone, address)
        phone.choose_files("#files", files[0])
        assert phone.until("document.querySelectorAll('[data-done]').length === 1", PATIENCE)
        phone.run("document.querySelector('.tools button').click()")
        assert phone.run("document.documentElement.scrollWidth") <= 390
        light, ink = phone.run(
            "['backgroundColor', 'color'].map((key) => Number(getComputedStyle(document.body)[key].match(/\\d+/)[0]))"
        )
        assert (light < ink) == dark and phone.problems == []


INITIALS = "#view-parts .bar input[type=text]"


def write(browser, selector, text, event="input"):
    browser.run(
        f"(() => {{ const field = document.querySelector({selector!r}); field.value = {text!r};"
        f"field.dispatchEvent(new Event({event!r})); }})()"
    )


def outline(browser, *keys):
    """Outline a part of the first prototype by these keys, until its meaning is asked for."""
    assert browser.until("!document.querySelector('.part button').disabled", PATIENCE)  # its picture is there
    browser.run("document.querySelector('.part button').click()")
    for key in keys:
        browser.press(key)
    assert browser.until("!!document.querySelector('.asked')", PATIENCE)


def test_prototypes_are_judged_and_a_part_is_outlined(address, run):
    from protomask.run.review import FILE, review_of

    with chromium.Browser() as browser:
        ready(browser, address)
        browser.run("document.querySelector('[data-view=parts]').click()")
        assert browser.until("document.querySelectorAll('.part .photo').length >= 2", PATIENCE)
        browser.run("document.querySelector('.part input[value=forget]').click()")
        assert browser.until("!document.querySelector('.part .wrong').hidden", PATIENCE)  # initials come first
        write(browser, INITIALS, "RB")
        browser.run("document.querySelector('.part input[value=forget]').click()")
        assert browser.until("document.querySelector('.part').dataset.verdict === 'forget'", PATIENCE)
        outline(browser, " ", "ArrowRight", "ArrowRight", " ", "ArrowDown", "ArrowDown", " ", "Enter")
        browser.run("document.querySelectorAll('.asked button')[2].click()")
        assert browser.until("document.querySelectorAll('.part:first-child .others li').length === 2", PATIENCE)
        outline(browser, " ", "ArrowRight", " ", "ArrowDown", " ", "Enter")
        browser.press("Tab")  # some part of the class must look there
        browser.press("Enter")
        assert browser.until("document.querySelectorAll('.part:first-child .others li').length === 3", PATIENCE)
        browser.run("[...document.querySelectorAll('.withdraw')].at(-1).click()")
        assert browser.until("document.querySelectorAll('.part:first-child .others li').length === 2", PATIENCE)
        assert browser.problems == [] and asked_elsewhere(browser, address) == []
    review = review_of(run.folder)
    (region,) = review.regions()
    assert review.numbers("forget") == [0] and (region.prototype, region.meaning) == (0, "distraction")
    assert region.corners == ((0.5, 0.5), (0.56, 0.5), (0.56, 0.56))
    assert [each["meaning"] for each in review.judgements if each.get("withdrawn")] == ["class"]
    (run.folder / FILE).unlink()


def test_what_was_done_before_the_initials_is_not_lost(address, run):
    from protomask.run.review import FILE, review_of

    note = ".part[data-number='1'] input[type=text]"
    with chromium.Browser() as browser:
        ready(browser, address)
        browser.run("document.querySelector('[data-view=parts]').click()")
        assert browser.until("document.querySelectorAll('.part .photo').length >= 2", PATIENCE)
        outline(browser, " ", "ArrowRight", "ArrowRight", " ", "ArrowDown", "ArrowDown", " ", "Enter")
        browser.run("document.querySelector('.asked button').click()")
        assert browser.until("!document.querySelector('.part .wrong').hidden", PATIENCE)  # initials come first
        write(browser, note, "a long observation", "change")
        write(browser, INITIALS, "R")
        write(browser, INITIALS, "RB")
        assert browser.run(f'document.querySelector("{note}").value') == "a long observation"
        browser.run("document.querySelector('.asked button').click()")
        assert browser.until("document.querySelectorAll('.part:first-child .others li').length === 1", PATIENCE)
        assert not browser.run("!!document.querySelector('.asked')")
        assert browser.run(f'document.querySelector("{note}").value') == "a long observation"
        browser.run("document.querySelector('.part[data-number=\"1\"] input[value=keep]').click()")
        assert browser.until("document.querySelector('.part[data-number=\"1\"]').dataset.verdict === 'keep'", PATIENCE)
        write(browser, INITIALS, "AM")  # somebody else has not said it
        assert browser.run(f'document.querySelector("{note}").value') == ""
        assert browser.problems == []
    review = review_of(run.folder)
    assert [each.corners for each in review.regions()] == [((0.5, 0.5), (0.56, 0.5), (0.56, 0.56))]
    assert review.standing()[1].words == {"RB": ("keep", "a long observation")}
    (run.folder / FILE).unlink()


def strip(image, wide):
    """The same picture, photographed four times as wide or as high."""
    return image.repeat(4, axis=1 if wide else 0)


def test_training_pictures_have_their_proportions_and_an_outline_lands_where_it_was_drawn(run, files):
    from protomask.explanations.records import PrototypePicture
    from protomask.run.review import FILE, review_of
    from protomask.serve.of_run import RunSubject

    subject = RunSubject(run)
    subject.prototypes = [
        PrototypePicture(each.record, strip(each.image, number % 2), each.maps, each.inspection)
        for number, each in enumerate(subject.prototypes)
    ]
    with served(subject) as address, chromium.Browser() as browser:
        ready(browser, address)
        browser.choose_files("#files", files[0])
        assert browser.until("document.querySelectorAll('[data-done]').length === 1", PATIENCE)
        browser.run("document.querySelector('[data-view=parts]').click()")
        assert browser.until("document.querySelectorAll('.part .photo').length >= 2", PATIENCE)
        write(browser, INITIALS, "RB")
        for number in range(2):
            part = f".part[data-number='{number}']"
            assert browser.until(f'!document.querySelector("{part} button").disabled', PATIENCE)
            browser.run(f'document.querySelector("{part} button").click()')
            browser.run(f"document.querySelector(\"{part}\").scrollIntoView({{block: 'center'}})")
            x, y, width, height = browser.run(
                f'(() => {{ const box = document.querySelector("{part} .lasso").getBoundingClientRect();'
                "return [box.x, box.y, box.width, box.height]; })()"
            )
            corners = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75))
            browser.drag(*[(x + across * width, y + down * height) for across, down in corners])
            assert browser.until(f'!!document.querySelector("{part} .asked")', PATIENCE)
            for across, down, drawn in ((0.5, 0.25, True), (0.75, 0.5, True), (0.5, 0.5, True), (0.25, 0.75, False)):
                seen = browser.run(
                    f'(() => {{ const canvas = document.querySelector("{part} .lasso");'
                    f"return canvas.getContext('2d').getImageData({across} * canvas.width - 2,"
                    f"{down} * canvas.height - 2, 4, 4).data.some((value) => value > 0); }})()"
                )
                assert seen is drawn
            browser.run(f'document.querySelector("{part} .asked button").click()')
            assert browser.until(f'document.querySelectorAll("{part} .others li").length === 1', PATIENCE)
        shown = browser.run(
            "[...document.querySelectorAll('img.photo')].filter((each) => each.clientWidth).map((each) =>"
            "[each.clientWidth * each.naturalHeight, each.clientHeight * each.naturalWidth])"
        )
        assert len(shown) >= 2 and all(abs(across / down - 1) < 0.05 for across, down in shown)
        canvas = browser.run(
            "[...document.querySelectorAll('.lasso')].slice(0, 2).map((each) => each.width / each.height)"
        )
        assert canvas == [0.25, 4]
        browser.run("document.querySelector('[data-view=pictures]').click()")
        shown = browser.run(
            "[...document.querySelectorAll('.like + .half .photo')].map((each) =>"
            "(each.clientWidth / each.clientHeight) / (each.naturalWidth / each.naturalHeight))"
        )
        assert shown and all(abs(stretched - 1) < 0.05 for stretched in shown)
        assert browser.problems == []
    regions = {each.prototype: each.corners for each in review_of(run.folder).regions()}
    (run.folder / FILE).unlink()
    for number in range(2):
        assert len(regions[number]) == len(corners)
        for found, meant in zip(regions[number], corners):
            assert found == pytest.approx(meant, abs=0.02)


def test_long_names_without_a_blank_break_on_the_page(run, files):
    from protomask.serve.of_run import RunSubject

    subject = RunSubject(run)
    subject.classes = ["x" * 90 for _ in subject.classes]
    subject._named = lambda name: "x" * 90
    with served(subject) as address, chromium.Browser(390, 800, phone=True) as phone:
        ready(phone, address)
        phone.choose_files("#files", files[0])
        assert phone.until("document.querySelectorAll('[data-done]').length === 1", PATIENCE)
        assert phone.run("document.documentElement.scrollWidth") <= 390
        assert phone.run("document.querySelector('.like').clientHeight") < 70  # two words, not letter by letter
        phone.run("document.querySelector('[data-view=parts]').click()")
        assert phone.until("document.querySelectorAll('.part .photo').length >= 1", PATIENCE)
        assert phone.run("document.documentElement.scrollWidth") <= 390


def teach(browser):
    """Mark two parts, by keyboard alone, and teach; until the comparison stands."""
    browser.run("document.querySelector('[data-view=parts]').focus()")
    browser.press("Enter")
    assert browser.until("document.querySelectorAll('.part .photo').length >= 2", PATIENCE)
    browser.run(
        "(() => { const field = document.querySelector('#view-parts .bar input[type=text]'); field.value = 'RB';"
        "field.dispatchEvent(new Event('input')); })()"
    )
    for number, verdict in ((1, "forget"), (2, "keep")):
        browser.run(f"document.querySelector('.part[data-number=\"{number}\"] input[value={verdict}]').focus()")
        browser.press(" ")
        assert browser.until(
            f"document.querySelector('.part[data-number=\"{number}\"]').dataset.verdict === '{verdict}'", PATIENCE
        )
    browser.run("document.querySelector('[data-view=teach]').focus()")
    browser.press("Enter")
    assert browser.until("document.querySelectorAll('.plan .thumb .photo').length === 1", PATIENCE)
    assert not browser.run("document.querySelector('#view-teach .main').disabled")
    browser.run("document.querySelector('#view-teach .main').focus()")
    browser.press("Enter")
    assert browser.until("document.querySelector('#view-teach').dataset.running === 'true'", PATIENCE)
    assert browser.until("!document.querySelector('.comparison').hidden", PATIENCE)


def test_the_network_is_taught_compared_and_put_to_use(run, files, tmp_path):
    import protomask
    from protomask.serve.of_run import RunSubject

    shutil.copytree(run.folder, tmp_path / "net")
    with served(RunSubject(protomask.open_run(tmp_path / "net", progress=False))) as address:
        with chromium.Browser() as browser:
            ready(browser, address)
            browser.choose_files("#files", files[0])
            assert browser.until("document.querySelectorAll('[data-done]').length === 1", PATIENCE)
            teach(browser)
            assert "test pictures" in texts(browser, ".verdict-line")[0]
            assert len(texts(browser, ".pair")) == 1 and len(texts(browser, ".pair .photo")) == 2
            assert texts(browser, ".list li strong") == ["net", "net-refined"]
            browser.run("document.querySelector('.list .use').focus()")
            browser.press("Enter")
            assert browser.until("document.querySelector('#title').textContent === 'net-refined'", PATIENCE)
            browser.run("document.querySelector('[data-view=pictures]').click()")
            assert browser.until("document.querySelectorAll('[data-done]').length === 1", PATIENCE)  # explained anew
            assert browser.problems == [] and asked_elsewhere(browser, address) == []
        with chromium.Browser(390, 800, dark=True, phone=True) as phone:
            ready(phone, address)
            phone.run("document.querySelector('[data-view=teach]').click()")
            assert phone.until("document.querySelectorAll('.list li').length === 2", PATIENCE)
            phone.run(
                "[...document.querySelectorAll('.list button')].find((each) => /^Compare/.test(each.innerText)).click()"
            )
            assert phone.until("!document.querySelector('.comparison').hidden", PATIENCE)
            assert phone.run("document.documentElement.scrollWidth") <= 390 and phone.problems == []
