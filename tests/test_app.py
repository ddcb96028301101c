"""The page in a real browser, its handlers without one, and its endpoints through gradio_client."""

from __future__ import annotations

import io
import re
import urllib.error
import urllib.request
import zipfile

import gradio as gr
import pytest
from conftest import app_on, no_worker, shoot

import app
from trainer.publish import bundled
from trainer.ui import static
from trainer.ui.common import documents
from trainer.ui.common.lab import Lab
from trainer.ui.compare import draw as compare_draw
from trainer.ui.compare import view as compare_view
from trainer.ui.live import selection as live_selection
from trainer.ui.train import fields as train_fields
from trainer.ui.train import form as train_form
from trainer.ui.train import queue as train_queue
from trainer.ui.train import tab as train_tab


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """`python app.py` on an empty store of its own; yields (address, store)."""
    with app_on(tmp_path_factory.mktemp("served")) as found:
        yield found


def test_empty_pages_say_what_to_do_next(page):
    page.get_by_text("No trained runs yet.").wait_for()
    page.get_by_role("button", name="Add the example runs").wait_for()
    page.get_by_role("tab", name="Compare").click()
    page.get_by_text("No finished runs yet.").wait_for()
    page.get_by_role("tab", name="Train").click()
    page.get_by_text("No runs yet. Press Train").wait_for()


def test_the_page_has_its_own_title_icon_and_documents(served):
    """In the HTML itself, as chats and search engines read it; the documents are those of this version."""
    address, _ = served

    def get(path: str) -> tuple[str, bytes]:
        with urllib.request.urlopen(f"{address}/{path}") as answer:
            return answer.headers["content-type"], answer.read()

    html = get("")[1].decode().partition("window.gradio_config")[0]
    assert "<title>PEFT Lab</title>" in html
    titles = re.findall(r'<meta (?:property|name)="(?:og|twitter):title" content="(.*?)"', html)
    assert titles == ["PEFT Lab", "PEFT Lab"]
    assert "Gradio" not in html
    kind, icon = get("favicon.ico")
    assert kind.startswith("image/svg+xml")
    assert icon == (static.FOLDER / "icon.svg").read_bytes()
    links = documents.links()
    assert set(links) == {"documentation", "teaching", "source"}
    assert '<h1 id="peft-lab">PEFT Lab</h1>' in get(links["documentation"])[1].decode()
    assert "<table>" in get("documents/docs/endpoints.md")[1].decode()
    assert get("documents/docs/run.schema.json")[0] == "application/json"
    with zipfile.ZipFile(io.BytesIO(get(links["source"])[1])) as archive:
        names = archive.namelist()
    assert {"peft-lab/app.py", "peft-lab/trainer/__init__.py", "peft-lab/LICENSE"} <= set(names)
    assert not [name for name in names if "adapters_store" in name or "__pycache__" in name]
    for path in ("documents/app.py", "documents/../app.py", "documents/adapters_store/.bundled"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(path)
        assert refused.value.code == 404


def test_every_tab_has_an_address_that_back_and_reload_keep(page, served):
    from playwright.sync_api import expect

    address, _ = served

    def opened(name: str) -> None:
        expect(page.get_by_role("tab", name=name, exact=True)).to_have_attribute("aria-selected", "true")

    opened("Live")
    assert page.url.rstrip("/") == address, "the first tab needs no parameter"
    assert [tab.inner_text() for tab in page.get_by_role("tab").all()[:4]] == ["Live", "Compare", "Train", "Lesson"]
    page.get_by_role("button", name="Compare methods").click()
    opened("Compare")
    expect(page).to_have_url(re.compile(r"/\?tab=compare"))
    page.get_by_role("tab", name="Train").click()
    expect(page).to_have_url(f"{address}/?tab=train")
    page.evaluate("labAddress({run: 'some-run'})")
    page.get_by_role("tab", name="Lesson").click()
    expect(page).to_have_url(re.compile(r"/\?tab=lesson"))
    page.go_back()
    opened("Train")
    expect(page).to_have_url(f"{address}/?tab=train&run=some-run")
    page.reload()
    opened("Train")
    expect(page).to_have_url(f"{address}/?tab=train&run=some-run")
    page.get_by_role("tab", name="Live").click()
    expect(page).to_have_url(f"{address}/?tab=live")
    page.get_by_role("tab", name="Train").click()
    expect(page).to_have_url(f"{address}/?tab=train&run=some-run")
    for query, name in (("run=some-run", "Train"), ("tab=compare&view=overview", "Compare"), ("step=2", "Lesson")):
        page.goto(f"{address}/?{query}")
        opened(name)
        expect(page).to_have_url(re.compile(f"tab={name.lower()}"))


def test_the_first_line_is_one_line_and_names_the_machine(page):
    page.get_by_text("Running on").wait_for()
    page.set_viewport_size({"width": 1280, "height": 720})
    parts = page.locator(".lab-header > *:visible").all()
    assert len(parts) == 4
    middles = [box["y"] + box["height"] / 2 for box in (part.bounding_box() for part in parts)]
    assert max(middles) - min(middles) < 12
    assert page.title() == "PEFT Lab"


@pytest.mark.parametrize(
    ("setting", "own", "space", "copied"),
    [("", False, False, True), ("", True, False, False), ("0", False, False, False), ("0", False, True, False),
     ("1", True, False, True), ("", True, True, True)],
)  # fmt: skip
def test_example_runs_come_into_an_empty_store_unless_they_are_left_out(
    setting, own, space, copied, own_store, monkeypatch
):
    from trainer.machine import hosting
    from trainer.runs import recipes

    if own:
        own_store.create(recipes.make(method="lora", task="movies", backbone="minilm"), label="")
    monkeypatch.setenv("PEFT_LAB_BUNDLED", setting)
    if space:
        monkeypatch.setenv("SPACE_ID", "teacher/lab")
    assert hosting.copies_bundled_runs(empty=bundled.lacking(own_store.root)) == copied


def test_an_empty_page_brings_the_example_runs_and_predicts_with_them(open_page, tmp_path):
    """The button of an empty store: the real bundled runs, one of each recipe that has weights; their task alone."""
    from playwright.sync_api import expect

    with app_on(tmp_path / "store") as (address, store):
        for page in open_page(address):
            page.get_by_role("button", name="Add the example runs").click()
            page.get_by_text(re.compile(r"\d runs predicted\.")).wait_for(timeout=300_000)
            expect(page.locator(".lab-answer h3")).to_have_text(["LoRA", "QLoRA (4-bit)", "Adapter", "AdapterFusion"])
            expect(page.locator("#live-task input")).to_have_value("movies")
            expect(page.get_by_role("button", name="Add the example runs")).to_be_hidden()
            expect(page.get_by_text("Full fine-tuning came without its weights")).to_be_visible()
        assert len(store.list()) == len(bundled.shipped())
        assert bundled.lacking(store.root) is False
        for run in store.list():
            store.delete(run.id)
        assert bundled.lacking(store.root) is False, "who deleted them does not get them at the next start"
        assert bundled.bring(store.root) == 0
        assert bundled.bring(store.root, again=True) == len(bundled.shipped())


def test_an_open_page_rests(page):
    """In every tab. Gradio's tabs measured themselves again in every frame, up to 27,000 times in four seconds."""
    frames = """async () => {
        const request = requestAnimationFrame;
        let asked = 0;
        window.requestAnimationFrame = call => (asked++, request(call));
        await new Promise(done => setTimeout(done, 1000));
        window.requestAnimationFrame = request;
        return asked;
    }"""
    for tab in ("Live", "Compare", "Train", "Lesson"):
        page.get_by_role("tab", name=tab, exact=True).click()
        page.wait_for_timeout(1500)
        assert page.evaluate(frames) < 150, f"{tab}: one or two a frame at most"


def test_a_page_whose_drawing_failed_loads_itself_once_more(browser, served):
    """As with the fault of Gradio's Svelte; only once, and never where something was entered."""
    fails = """() => setTimeout(() => { throw new TypeError("Cannot read properties of undefined (reading 'e')"); })"""
    context = browser.new_context()
    page = context.new_page()
    loads = []
    page.on("load", lambda _: loads.append(page.url))
    page.goto(served[0])
    page.get_by_role("tab", name="Live").wait_for()
    with page.expect_navigation():
        page.evaluate(fails)
    page.get_by_role("tab", name="Live").click()
    page.evaluate(fails)
    page.get_by_label("A sentence").fill("the film is warm")
    page.evaluate("sessionStorage.clear()")
    page.evaluate(fails)
    page.wait_for_timeout(1500)
    assert len(loads) == 2, "once, for what was entered later is kept"
    assert page.get_by_label("A sentence").input_value() == "the film is warm"
    context.close()


def test_a_suite_is_trained_compared_and_asked(page, served):
    """The main journey on the real embedded backbone and sentences, with a reload in the middle."""
    from playwright.sync_api import expect

    _, store = served
    page.get_by_role("tab", name="Train").click()
    expect(page.locator("#lab-command")).to_be_visible()
    for method in ("Full fine-tuning", "QLoRA (4-bit)", "AdapterFusion"):
        page.get_by_label(method, exact=True).uncheck()
    expect(page.get_by_label("Custom")).to_be_checked()
    page.get_by_text("Hyperparameters").click()
    page.get_by_label("Epochs", exact=True).fill("-1")
    page.get_by_role("button", name="Train", exact=True).click()
    # Said with the estimate, and again under the button.
    expect(page.get_by_text("epochs: expected a number above 0")).to_have_count(2)
    page.get_by_label("Epochs", exact=True).fill("2")
    page.get_by_label("Training sentences").fill("200")
    page.get_by_label("Validation sentences").fill("50")
    page.get_by_role("textbox", name="Test sentences").fill("100")
    page.get_by_role("button", name="Train", exact=True).click()
    page.get_by_text("2 runs queued").wait_for()
    page.get_by_text("comes next").or_(page.get_by_text("1 before it")).first.wait_for()
    page.get_by_text(re.compile("sentences/s")).first.wait_for()
    shoot(page, "train")
    page.reload()  # its address has the tab
    page.get_by_text("test accuracy").nth(1).wait_for(timeout=300_000)
    assert [run.state for run in store.list()] == ["finished", "finished"]
    # The live charts have a line a run.
    page.locator(".vega-embed .mark-line path").nth(1).wait_for(state="attached")

    page.get_by_role("tab", name="Compare").click()
    page.get_by_text("test sentences and one run of each").wait_for()
    # A bar chart of two methods. Lines: a run in each of four curves.
    expect(page.locator(".lab-chart .mark-rect.role-mark path")).to_have_count(2)
    page.get_by_role("tab", name="Curves").click()
    page.wait_for_function("document.querySelectorAll('.lab-chart svg.marks').length >= 4")
    expect(page.locator(".lab-chart .mark-line path")).to_have_count(8)
    page.get_by_role("tab", name="Table").click()
    page.wait_for_function("document.querySelectorAll('.lab-results tbody tr').length == 4")
    with page.expect_download() as download:
        page.locator(".lab-results").get_by_role("button", name="Download CSV").click()
    assert len(download.value.path().read_text(encoding="utf-8-sig").splitlines()) == 5
    shoot(page, "compare")

    page.get_by_role("tab", name="Live").click()
    page.get_by_label("A sentence", exact=True).fill("A warm <b>and</b> funny film.")
    page.get_by_role("button", name="Predict with all runs").click()
    page.get_by_text("Sentence: “A warm <b>and</b>").wait_for()
    expect(page.locator(".lab-answer h3")).to_have_text(["LoRA", "Adapter"])
    expect(page.locator(".lab-answer .lab-bar")).to_have_count(4)
    page.get_by_role("button", name="Negation").click()
    expect(page.get_by_label("A sentence", exact=True)).to_have_value(re.compile("^It is not"))
    page.get_by_text("Sentence: “It is not").wait_for()
    page.get_by_text("2 runs predicted.").wait_for()
    expect(page.locator(".lab-answer", has_text=" ms")).to_have_count(2)
    expect(page.locator(".lab-answer .lab-bar")).to_have_count(4)
    shoot(page, "live")


def test_the_endpoints_answer_a_client(served):
    from gradio_client import Client

    address, store = served
    client = Client(address, verbose=False)
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {
        "/predict", "/runs", "/compare", "/launch", "/cancel",
    }  # fmt: skip
    assert {run["id"] for run in client.predict(api_name="/runs")} == {run.id for run in store.list()}
    answers = client.predict("a fine film", None, api_name="/predict")
    assert [answer["method"] for answer in answers] == ["lora", "adapter"]
    assert [answer["label"] for answer in answers] == ["", ""], "the runs' own names"
    assert {row["run"] for row in client.predict(api_name="/compare")} == {run.id for run in store.list()}
    with pytest.raises(Exception, match="perhaps you meant lora"):
        client.predict(["lorra"], "movies", "minilm", None, api_name="/launch")
    with no_worker(store):
        (launched,) = client.predict(["lora"], "movies", "minilm", {"epochs": 200}, api_name="/launch")
        assert store.load(launched).state == "queued"
        assert client.predict(launched, api_name="/cancel") == "cancelled"
    assert store.load(launched).state == "cancelled"


def test_the_endpoints_name_their_inputs_and_say_what_each_is(own_store):
    """What "Use via API" shows: Gradio itself calls them 1st, 2nd, 3rd."""
    found = app.build_app(Lab.open(own_store)).get_api_info()["named_endpoints"]
    assert set(found) == {"/predict", "/runs", "/compare", "/launch", "/cancel"}
    for name, one in found.items():
        for parameter in one["parameters"]:
            assert parameter["label"] == parameter["parameter_name"]
            assert len(parameter["python_type"]["description"]) > 5, f"{name}: {parameter['label']}"
    assert [one["label"] for one in found["/predict"]["parameters"]] == ["text", "runs"]


def test_handlers_work_without_a_browser(own_store):
    lab = Lab.open(own_store)
    assert "Press Train" in train_queue.queue_html(lab)
    assert "at least one method" in train_tab.submit(lab, train_form.defaults() | {"methods": []})
    assert own_store.list() == []
    with gr.Blocks():
        view, fields = compare_view.build(), train_fields.build(lab)
    assert "No finished runs" in compare_draw.draw(lab, view)[view.summary]
    assert "No trained runs" in live_selection.empty(lab)
    changes = train_fields.fill(fields, "report")
    assert changes[fields.fields["task"]] == "sst2"
    assert changes[fields.fields["backbone"]] == "bert-base"
    assert fields.fields["label"] not in changes, "a name that was typed stays"
    assert list(train_fields.fill(fields, "custom")) == [fields.preset]


def test_labels_are_never_html(own_store):
    from trainer.runs import recipes

    own_store.create(
        recipes.make(method="lora", task="movies", backbone="minilm"), label="<img src=x onerror=alert(1)>"
    )
    html = train_queue.queue_html(Lab.open(own_store))
    assert "<img" not in html
    assert "&lt;img" in html
