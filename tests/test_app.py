"""The page in a real browser, its handlers without one, and its endpoints through gradio_client."""

from __future__ import annotations

import re

import gradio as gr
import pytest
from conftest import app_on, no_worker, shoot

from trainer.ui.common.lab import Lab
from trainer.ui.compare import draw as compare_draw
from trainer.ui.compare import view as compare_view
from trainer.ui.live import tab as live_tab
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
    page.get_by_text("No runs yet. Press Train").wait_for()
    page.get_by_role("tab", name="Compare").click()
    page.get_by_text("No finished runs yet.").wait_for()
    page.get_by_role("tab", name="Live").click()
    page.get_by_text("No trained runs yet.").wait_for()


def test_a_suite_is_trained_compared_and_asked(page, served):
    """The main journey on the real embedded backbone and sentences, with a reload in the middle."""
    from playwright.sync_api import expect

    _, store = served
    expect(page.locator("#lab-command")).to_be_visible()
    for method in ("Full fine-tuning", "QLoRA (4-bit)", "AdapterFusion"):
        page.get_by_label(method, exact=True).uncheck()
    expect(page.get_by_label("Custom")).to_be_checked()
    page.get_by_text("Hyperparameters").click()
    page.get_by_label("Epochs", exact=True).fill("-1")
    page.get_by_role("button", name="Train", exact=True).click()
    # Said with the estimate, and again under the button.
    expect(page.get_by_text("epochs: expected a number of at least 1")).to_have_count(2)
    page.get_by_label("Epochs", exact=True).fill("2")
    page.get_by_label("Training sentences").fill("200")
    page.get_by_label("Validation sentences").fill("50")
    page.get_by_role("button", name="Train", exact=True).click()
    page.get_by_text("2 runs queued").wait_for()
    page.get_by_text("comes next").or_(page.get_by_text("1 before it")).first.wait_for()
    page.get_by_text(re.compile("sentences/s")).first.wait_for()
    shoot(page, "train")
    page.reload()
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
    page.wait_for_function("document.querySelectorAll('.lab-results tbody tr').length == 2")
    with page.expect_download() as download:
        page.locator(".lab-results").get_by_role("button", name="Download CSV").click()
    assert len(download.value.path().read_text(encoding="utf-8-sig").splitlines()) == 3
    shoot(page, "compare")

    page.get_by_role("tab", name="Live").click()
    page.get_by_label("A sentence", exact=True).fill("A warm <b>and</b> funny film.")
    page.get_by_role("button", name="Ask every run").click()
    expect(page.locator(".lab-answer h3")).to_have_text(["LoRA", "Adapter"])
    expect(page.locator(".lab-answer .lab-bar")).to_have_count(4)
    page.get_by_role("button", name="Negation").click()
    expect(page.get_by_label("A sentence", exact=True)).to_have_value(re.compile("^It is not"))
    page.get_by_text("Asked: “It is not").wait_for()
    page.get_by_text("2 runs answered.").wait_for()
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
    assert {row["run"] for row in client.predict(api_name="/compare")} == {run.id for run in store.list()}
    with pytest.raises(Exception, match="perhaps you meant lora"):
        client.predict(["lorra"], "movies", "minilm", None, api_name="/launch")
    with no_worker(store):
        (launched,) = client.predict(["lora"], "movies", "minilm", {"epochs": 200}, api_name="/launch")
        assert store.load(launched).state == "queued"
        assert client.predict(launched, api_name="/cancel") == "cancelled"
    assert store.load(launched).state == "cancelled"


def test_handlers_work_without_a_browser(own_store):
    lab = Lab.open(own_store)
    assert "Press Train" in train_queue.queue_html(lab)
    assert "at least one method" in train_tab.submit(lab, train_form.defaults() | {"methods": []})
    assert own_store.list() == []
    with gr.Blocks():
        view, fields = compare_view.build(), train_fields.build(lab)
    assert "No finished runs" in compare_draw.draw(lab, view)[view.summary]
    assert "No trained runs" in live_tab.empty(lab)
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
