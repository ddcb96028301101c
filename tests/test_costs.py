"""Calibration, speed when predicting, energy and parents' costs: by hand, against scikit-learn, on real runs."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import named_view
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss
from typer.testing import CliRunner

from trainer import cli as program
from trainer import methods
from trainer.analysis import parents, reliability
from trainer.errors import Cancelled
from trainer.machine import device
from trainer.publish import report
from trainer.runs.metrics import METRICS
from trainer.runs.result import Calibration
from trainer.runs.store import Store
from trainer.serving import predictor as inference
from trainer.training import calibration, speed
from trainer.ui.common import charts
from trainer.ui.common.lab import Lab
from trainer.ui.compare import tables as compare_tables
from trainer.ui.live import predict as live_predict
from trainer.ui.live import tab as live_tab
from trainer.ui.live import view as live_view
from trainer.ui.live.session import Session

# Calibration


def predictions(sentences: int, labels: int, *, seed: int = 0, sure: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from known probabilities, and those probabilities with `sure` times their logits, as float32."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(sentences, labels)) * 1.5
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (true.cumsum(axis=1) < rng.random((sentences, 1))).sum(axis=1).clip(max=labels - 1)
    shown = np.exp(sure * logits)
    return (shown / shown.sum(axis=1, keepdims=True)).astype(np.float32), truth


@given(
    arrays.arrays(
        np.float32, st.tuples(st.integers(1, 40), st.integers(2, 5)), elements=st.floats(-200, 200, width=32)
    ),
    st.floats(0.05, 20),
    st.randoms(use_true_random=False),
)
@settings(max_examples=80, deadline=None)
def test_what_holds_of_any_predictions(logits, temperature, random):
    """float32 as stored, saturated ones included: the label stays under any temperature, every figure has its range."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    shown = exponents / exponents.sum(axis=1, keepdims=True)
    truth = np.array([random.randrange(shown.shape[1]) for _ in shown])
    scaled = calibration.scaled(shown, temperature)
    assert (scaled.argmax(axis=1) == shown.argmax(axis=1)).all()
    np.testing.assert_allclose(scaled.sum(axis=1), 1, rtol=1e-9)
    found = Calibration.model_validate(calibration.calibration(scaled, truth))
    assert sum(one.count for one in found.bins) == len(truth)
    assert all(one.low < one.confidence + 1e-9 and one.confidence <= one.high + 1e-9 for one in found.bins if one.count)
    right = sum(one.count * one.accuracy for one in found.bins if one.count)
    assert right == pytest.approx((shown.argmax(axis=1) == truth).sum())
    value = calibration.fit_temperature(shown, truth)
    assert value is None or 0.05 < value < 20


def test_the_error_of_a_case_worked_by_hand():
    """Two intervals: (0.5, 1] has confidences .6, .9, .9 with one of three right, and of the lowest nobody is."""
    shown = np.array([[0.6, 0.4], [0.9, 0.1], [0.1, 0.9], [0.5, 0.5]])
    found = calibration.calibration(shown, np.array([0, 1, 0, 0]), bins=2)
    low, high = found["bins"]
    assert (low["count"], low["confidence"], low["accuracy"]) == (1, 0.5, 1.0), "an interval includes its upper end"
    assert (high["count"], high["confidence"], high["accuracy"]) == (3, pytest.approx(0.8), pytest.approx(1 / 3))
    assert found["expected_calibration_error"] == pytest.approx(0.25 * 0.5 + 0.75 * (0.8 - 1 / 3))
    assert found["brier"] == pytest.approx(2 * (0.4**2 + 0.9**2 + 0.9**2 + 0.5**2) / 4)
    # Perfect and worst predictions, and sentences that no interval has.
    certain = np.eye(2)[[0, 1, 1]]
    assert calibration.calibration(certain, np.array([0, 1, 1]))["expected_calibration_error"] == 0
    worst = calibration.calibration(certain, np.array([1, 0, 0]))
    assert (worst["expected_calibration_error"], worst["brier"]) == (1, 2)
    assert worst["bins"][0] == {"low": 0.0, "high": 1 / 15, "count": 0, "confidence": None, "accuracy": None}
    assert calibration.calibration(np.full((3, 2), np.nan), np.array([0, 1, 1])) is None


@pytest.mark.parametrize("labels", [2, 3, 6])
def test_figures_equal_scikit_learns(labels):
    shown, truth = predictions(3000, labels, sure=1.7)
    shown = shown.astype(np.float64) / shown.astype(np.float64).sum(axis=1, keepdims=True)
    found = calibration.calibration(shown, truth)
    expected = brier_score_loss(truth, shown, labels=range(labels), scale_by_half=False)
    assert found["brier"] == pytest.approx(expected, rel=1e-12)
    confidence, correct = shown.max(axis=1), shown.argmax(axis=1) == truth
    share, mean = calibration_curve(correct, confidence, n_bins=calibration.BINS, strategy="uniform")
    filled = [one for one in found["bins"] if one["count"]]
    np.testing.assert_allclose([one["accuracy"] for one in filled], share, rtol=1e-12)
    np.testing.assert_allclose([one["confidence"] for one in filled], mean, rtol=1e-12)
    weights = np.array([one["count"] for one in filled]) / len(truth)
    assert found["expected_calibration_error"] == pytest.approx((weights * abs(share - mean)).sum(), rel=1e-12)


@pytest.mark.parametrize("sure", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_what_made_the_probabilities_too_sure(sure):
    """Logits times `sure` need the temperature `sure`; no other on a fine grid has a smaller loss."""
    validation, test = predictions(6000, 3, seed=1, sure=sure), predictions(6000, 3, seed=2, sure=sure)
    found = calibration.temperature(validation, test)
    assert found["value"] == pytest.approx(sure, rel=0.08)
    losses = [log_loss(validation[1], calibration.scaled(validation[0], t)) for t in np.geomspace(0.06, 19, 100)]
    best = log_loss(validation[1], calibration.scaled(validation[0], found["value"]))
    assert best <= min(losses) + 1e-9
    before = calibration.calibration(*test)["expected_calibration_error"]
    assert found["test_calibration"]["expected_calibration_error"] <= max(before, 0.03)


def test_where_validation_says_nothing_there_is_no_temperature():
    sure, truth = np.array([[0.8, 0.2], [0.3, 0.7]]), np.array([0, 1])
    assert calibration.fit_temperature(sure, truth) is None, "all right: the likelihood has no maximum"
    assert calibration.fit_temperature(sure, 1 - truth) is None, "all wrong"
    assert calibration.fit_temperature(sure[:0], truth[:0]) is None
    assert calibration.temperature((sure, truth), (sure, truth)) is None


# Runs


@pytest.fixture(scope="module")
def lab(suite) -> Lab:
    return Lab.open(suite[0])


def test_every_run_says_how_calibrated_it_is_as_its_predictions_do(lab):
    for run in lab.store.list():
        frame = lab.store.predictions(run.id)
        arrays_of = {}
        for split in ("validation", "test"):
            rows = frame[frame["split"] == split]
            shown, truth = np.stack(rows["probabilities"].to_numpy()), rows["label"].to_numpy()
            again = Calibration.model_validate(calibration.calibration(shown, truth))
            stored = getattr(run.result, split).calibration
            assert stored == again
            assert sum(one.count for one in stored.bins) == getattr(run.result.meta_info.dataset_info.sizes, split)
            arrays_of[split] = shown, truth
        again = calibration.temperature(arrays_of["validation"], arrays_of["test"])
        stored = run.result.temperature
        assert (stored is None) == (again is None)
        assert stored is None or stored.value == pytest.approx(again["value"], rel=1e-4)


def test_every_run_says_how_fast_it_predicts_lora_merged_too(lab):
    for run in lab.store.list():
        found = run.result.train_info.inference
        for one in filter(None, (found, found.merged)):
            assert 0 < one.latency < 5
            assert one.sentences_per_second > 0
            assert speed.LEAST_REPEATS <= one.repeats <= speed.REPEATS
        assert (found.merged is not None) == (run.recipe.method == "lora")
        assert METRICS["latency"].of(run) == pytest.approx(1000 * found.latency)
        info = run.result
        assert info.run_info.total_time > info.train_info.test_time + info.train_info.train_time


def test_a_merged_model_is_a_plain_classifier_with_the_same_logits(lab):
    run = next(run for run in lab.store.list() if run.recipe.method == "lora")
    setup = inference.open_setup(run, device.detect())
    method = methods.get("lora")
    plain, merged = (method.open(run.model_folder, setup) for _ in range(2))
    merged = method.merge(merged)
    assert not any("lora" in name for name, _ in merged.named_parameters())
    ids = [[2, 5, 6, 7, 3], [2, 9, 3]]

    def logits(model):
        return inference.forward.predict_logits(
            model, ids, pad_id=0, batch_size=2, device=setup.device, precision="fp32"
        )

    np.testing.assert_allclose(logits(merged), logits(plain), atol=1e-5)


class Timed:
    """A prepared model whose passes take a time for each sentence by a clock of its own, and a record of them."""

    def __init__(self, seconds: float, monkeypatch) -> None:
        self.seconds, self.now, self.passes = seconds, 0.0, []
        monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def logits(self, ids, *, batch_size, precision):
        assert precision == "fp32"
        self.passes.append((len(ids), batch_size))
        self.now += self.seconds * len(ids)


@pytest.mark.parametrize(
    ("seconds", "repeats", "sentences"),
    [(0.0001, speed.REPEATS, speed.SENTENCES), (0.001, speed.REPEATS, 64), (0.01, speed.LEAST_REPEATS, speed.BATCH)],
)
def test_speed_is_of_batches_of_1_and_32_and_a_slow_model_gets_fewer(seconds, repeats, sentences, monkeypatch):
    model = Timed(seconds, monkeypatch)
    found = speed.measure(model, [[1]] * 50)
    assert found["repeats"] == repeats
    assert found["latency"] == pytest.approx(seconds)
    assert found["sentences_per_second"] == pytest.approx(1 / seconds)
    assert model.passes.count((1, 1)) == repeats * speed.SINGLES + 1
    assert max(model.passes) == (sentences, speed.BATCH)
    assert speed.spread([[1], [2], [3], [4]], 2) == [[1], [3]]
    assert speed.spread([[1], [2]], 4) == [[1], [1], [2], [2]]


def test_a_cancelled_run_stops_being_measured(monkeypatch):
    model = Timed(0.001, monkeypatch)

    def cancel():
        if len(model.passes) == 3:
            raise Cancelled("Cancelled on request.")

    with pytest.raises(Cancelled):
        speed.measure(model, [[1]] * 50, on_pass=cancel)
    assert len(model.passes) == 3


def test_what_is_measured_leaves_random_generators_as_they_were(lab):
    import torch

    run = next(run for run in lab.store.list() if run.recipe.method == "adapter")
    setup = inference.open_setup(run, device.detect())
    work = SimpleNamespace(
        method=methods.get("adapter"), setup=setup, ids={"test": [[2, 5, 3]]}, pad_id=0, device=setup.device
    )
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert speed.inference(work, run.model_folder, on_pass=lambda: None)["repeats"]
    assert torch.equal(before, torch.get_rng_state())


def test_energy_is_of_what_tells(lab):
    run = lab.store.list()[0]

    def energy(gpu, host):
        info = run.result.train_info.model_copy(update={"accelerator_energy_joules": gpu, "host_energy_joules": host})
        return METRICS["energy"].of(replace_result(run, train_info=info))

    assert [energy(None, None), energy(1500.0, None), energy(None, 500.0), energy(1500.0, 500.0)] == [None, 1.5, 0.5, 2]


def replace_result(run, **parts):
    return run.model_copy(update={"result": run.result.model_copy(update=parts)})


# Parents


def test_a_fusions_costs_stand_with_its_parents_and_other_tasks_are_named(lab, tmp_path):
    runs = lab.store.list()
    fusion = next(run for run in runs if run.result.parents)
    fused = [run for run in runs if run.id in fusion.result.parents.runs]
    own = fusion.result.train_info
    total = own.train_time + sum(run.result.train_info.train_time for run in fused)
    assert METRICS["minutes_with_parents"].of(fusion) == pytest.approx(total / 60)
    count = own.num_trainable_params + sum(run.result.train_info.num_trainable_params for run in fused)
    assert METRICS["trainable_with_parents"].of(fusion) == count
    alone = next(run for run in runs if run.recipe.method == "full")
    assert METRICS["trainable_with_parents"].of(alone) == METRICS["trainable"].of(alone)
    unknown = fusion.result.parents.model_copy(update={"train_time": None})
    assert METRICS["minutes_with_parents"].of(replace_result(fusion, parents=unknown)) is None

    (sentence,) = parents.other_tasks(runs)
    assert "(second)" in sentence, "its own task is not another one"
    assert parents.other_tasks([alone]) == []
    group = [run for run in runs if run.split_fingerprint == fusion.split_fingerprint]
    html = report.html(lab.store, group)
    for key in ("parents_minutes", "parents_parameters", "latency", "latency_merged", "calibration_error", "brier"):
        assert f"<th>{report.heading(METRICS[key])}</th>".replace("'", "&#39;") in html
    assert "labelled sentences of other tasks (second)" in html
    assert report.heading(METRICS["parents_minutes"]).replace("'", "&#39;") not in report.html(lab.store, [alone])
    names = {run.id: run.id for run in runs}
    for shown, columns in ((group, True), ([alone], False)):
        for table in (compare_tables.results(shown, names), compare_tables.over_seeds(shown, names)):
            assert (METRICS["minutes_with_parents"].title in table) == columns
    bars = charts.bars(compare_tables.with_variant(group, names), METRICS["trainable"]).to_json()
    assert rf"{own.num_trainable_params:,}\n+ {fusion.result.parents.num_trainable_params:,}" in bars


# Charts and pages


def test_the_reliability_chart_has_every_bin_with_its_sentences(lab, tmp_path):
    runs = [run for run in lab.store.list() if run.recipe.method in ("full", "lora", "qlora")]
    points = reliability.bins(lab.store, runs)
    size = runs[0].result.meta_info.dataset_info.sizes.test
    assert set(points["sentences"]) == {size}
    assert (points.groupby("run")["count"].sum() == size).all()
    chart = charts.reliability(points.assign(name=points["run"])).to_dict()
    assert f"on {size} test sentences" in chart["title"]["text"]
    drawn = [row for rows in chart["datasets"].values() for row in rows if "interval" in row]
    assert len(drawn) == len(points)
    assert all(row["counts"].endswith(f" / {size}") for row in drawn)
    # A run of an older version has none in run.json: its predictions tell.
    old = replace_result(runs[0], test=runs[0].result.test.model_copy(update={"calibration": None}))
    assert reliability.of(lab.store, old) == runs[0].result.test.calibration
    assert METRICS["calibration_error"].of(old) is None
    elsewhere = old.model_copy(update={"id": "nowhere"})
    assert reliability.of(Store(tmp_path), elsewhere) is None
    charts.reliability(reliability.bins(Store(tmp_path), [elsewhere]).assign(name=[])).to_dict()


@pytest.fixture
def scaled(suite, tmp_path) -> Lab:
    """A store of two runs: the first with a temperature of 2, the second with none."""
    store = Store(tmp_path / "scaled")
    chosen = [run for run in suite[0].list() if run.recipe.method in ("full", "lora")]
    for run, value in zip(chosen, (2.0, None), strict=True):
        shutil.copytree(run.folder, store.root / run.id)
        path = store.root / run.id / "run.json"
        content = json.loads(path.read_text())
        with_it = {"value": value, "test_calibration": content["result"]["test"]["calibration"]}
        content["result"]["temperature"] = with_it if value else None
        path.write_text(json.dumps(content))
    return Lab.open(store)


TEXT = "the film is warm and the cast is dull"


def test_live_scales_by_each_runs_temperature_and_says_so(scaled):
    view = named_view(live_view.View)

    def board(calibrated, session=None):
        inputs = (TEXT, None, True, False, None, session or Session())
        return list(live_predict.predict(scaled, view, *inputs, calibrated))[-1]

    plain, changed = board(False), board(True)
    assert "lab-scale" not in plain["predictions"]
    assert changed["predictions"].count("Scaled with T = 2.00") == 1
    assert changed["predictions"].count("Not scaled: this run has no temperature") == 1
    assert changed["predictions"].count("Not scaled: not trained") == 1
    # What is on the page is drawn again when the box is ticked; an empty page stays.
    again = list(live_predict.recalibrate(scaled, view, None, True, plain["session"], True))[-1]
    assert "Scaled with T = 2.00" in again["predictions"]
    assert len(list(live_predict.recalibrate(scaled, view, None, True, Session(), True))) == 1


def test_other_programs_and_the_command_line_scale_too(scaled, tmp_path, monkeypatch):
    full, lora = live_tab.predict_api(scaled, TEXT)
    assert (full["temperature"], lora["temperature"], lora["calibrated"]) == (2.0, None, None)
    odds = [shares["good"] / shares["bad"] for shares in (full["probabilities"], full["calibrated"])]
    assert odds[1] == pytest.approx(odds[0] ** 0.5, rel=1e-4)
    assert max(full["calibrated"], key=full["calibrated"].get) == full["predicted"]
    (tmp_path / "in.txt").write_text(TEXT)
    out = tmp_path / "out.csv"
    monkeypatch.setenv("ADAPTERS_STORE", str(scaled.store.root))
    arguments = ["predict", "--calibrated", "--file", str(tmp_path / "in.txt"), "--out", str(out)]
    done = CliRunner().invoke(program.app, arguments, standalone_mode=False)
    assert f"Not scaled: {lora['run_id']}, which has no temperature." in done.stderr
    shares = pd.read_csv(out).iloc[0]
    assert shares[f"{full['run_id']}:probability"] == pytest.approx(max(full["calibrated"].values()), abs=0.02)
