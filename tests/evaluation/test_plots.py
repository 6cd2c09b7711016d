from __future__ import annotations

import numpy as np
import pytest
from several import NAMES, several

from pennyweight.errors import RunError
from pennyweight.evaluation import plots
from pennyweight.evaluation.confusion import most_confused
from pennyweight.evaluation.decisions import Decision
from pennyweight.evaluation.label_metrics import StreamingLabelMetrics
from pennyweight.evaluation.metrics import StreamingMetrics

PNG = b"\x89PNG\r\n\x1a\n"


def _metrics(classes=4, items=400, temperature=1.5, names=None):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, classes, items)
    logits = generator.normal(size=(items, classes))
    logits[np.arange(items), labels] += 2
    metrics = StreamingMetrics(names or [f"class {i}" for i in range(classes)], temperature=temperature)
    metrics.update(logits, labels)
    return metrics.result(resamples=10)


def _label_metrics(names=NAMES):
    metrics = StreamingLabelMetrics(names, Decision("multi-label", 1.5), resamples=10)
    metrics.update(*several())
    return metrics.result()


def _history(steps=20, every=5):
    records = []
    for step in range(1, steps + 1):
        records.append(
            {"event": "step", "step": step, "epoch": step / 10, "loss": 1 / step, "learning_rate": step * 1e-4}
        )
        if step % every == 0:
            scores = {"accuracy": 0.9, "macro_precision": 0.91, "macro_recall": 0.89, "macro_f1": 0.88}
            records.append({"event": "validation", "step": step, "epoch": step / 10, "loss": 2 / step, **scores})
    return records


def _lines(figure):
    return {line.get_label(): np.column_stack(line.get_data()) for line in figure.axes[0].lines}


def test_loss_curves_show_what_was_logged():
    lines = _lines(plots.loss_curves(_history()))
    assert lines["training"] == pytest.approx(np.array([(s, 1 / s) for s in range(1, 21)]))
    assert lines["validation"] == pytest.approx(np.array([(s, 2 / s) for s in (5, 10, 15, 20)]))


def test_long_histories_are_drawn_as_means_within_their_range():
    figure = plots.loss_curves(_history(steps=10_000, every=20_000))
    drawn = _lines(figure)["training"]
    assert len(drawn) <= 300
    assert drawn[-1] == pytest.approx((9984, np.mean([1 / s for s in range(9968, 10_001)])), rel=1e-3)
    assert len(figure.axes[0].collections) == 1


def test_score_curves_show_the_four_scores():
    lines = _lines(plots.score_curves(_history()))
    assert {name: values[0, 1] for name, values in lines.items()} == {
        **{"accuracy": 0.9, "macro precision": 0.91, "macro recall": 0.89, "macro F1": 0.88}
    }


def test_learning_rate_curve_shows_every_step():
    (drawn,) = _lines(plots.learning_rate_curve(_history())).values()
    assert drawn == pytest.approx(np.array([(s, s * 1e-4) for s in range(1, 21)]))


def test_curves_without_validation_or_with_a_lost_value_still_draw():
    records = [{"event": "step", "step": 1, "loss": float("nan"), "learning_rate": 0.1}]
    assert set(_lines(plots.loss_curves(records))) == {"training"}
    assert plots.as_png(plots.loss_curves(records)).startswith(PNG)


@pytest.mark.parametrize("classes", [1, 2, 4, 30])
def test_confusion_matrix_writes_every_count(classes):
    metrics = _metrics(classes)
    axes = plots.confusion_matrix(metrics).axes[0]
    counts = np.array(metrics.confusion)
    written = {tuple(map(int, text.get_position()[::-1])): int(text.get_text()) for text in axes.texts}
    assert all(counts[cell] == number for cell, number in written.items())
    assert sum(written.values()) == 400
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(metrics.label_names)
    shares = counts / counts.sum(1, keepdims=True)
    assert np.asarray(axes.images[0].get_array()) == pytest.approx(shares)


@pytest.mark.parametrize("classes", [31, 50])
def test_confusion_matrix_of_many_classes_has_fewer_ticks_and_no_counts(classes):
    axes = plots.confusion_matrix(_metrics(classes, items=2000)).axes[0]
    assert not axes.texts
    assert 10 <= len(axes.get_yticklabels()) <= 30


def test_confusion_matrix_of_very_many_classes_shows_the_most_confused():
    metrics = _metrics(77, items=2000)
    axes = plots.confusion_matrix(metrics).axes[0]
    drawn = most_confused(metrics.confusion, 30)
    counts = np.array(metrics.confusion)
    shares = (counts / counts.sum(1, keepdims=True))[np.ix_(drawn, drawn)]
    assert np.asarray(axes.images[0].get_array()) == pytest.approx(shares)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [f"class {index}" for index in drawn]
    assert {text.get_text() for text in axes.texts} >= {str(counts[index, index]) for index in drawn}
    assert "the 30 most confused of 77" in plots.confusion_caption(77)
    assert "most confused" not in plots.confusion_caption(50)


def test_confusion_matrix_takes_classes_that_never_occur():
    metrics = StreamingMetrics(["a", "b"])
    metrics.update(np.array([[1.0, 0.0]]), np.array([0]))
    axes = plots.confusion_matrix(metrics.result(resamples=10)).axes[0]
    assert np.asarray(axes.images[0].get_array()).tolist() == [[1, 0], [0, 0]]


def test_reliability_diagram_shows_both_versions_and_their_counts():
    metrics = _metrics()
    upper, lower = plots.reliability_diagram(metrics).axes
    for offsets, bins in zip(upper.collections, (metrics.reliability_uncalibrated, metrics.reliability), strict=True):
        expected = [(one.confidence, one.accuracy) for one in bins if one.count]
        assert np.asarray(offsets.get_offsets()) == pytest.approx(np.array(expected))
    heights = [bar.get_height() for bar in lower.patches]
    assert heights == [one.count for one in (*metrics.reliability_uncalibrated, *metrics.reliability)]


def test_reliability_diagram_without_scaling_shows_one_version():
    upper, _ = plots.reliability_diagram(_metrics(temperature=1.0)).axes
    assert len(upper.collections) == 1


def _bars(figure):
    groups = {container.get_label(): [bar.get_width() for bar in container] for container in figure.axes[0].containers}
    return groups, [tick.get_text() for tick in figure.axes[0].get_yticklabels()]


def test_bars_show_true_and_predicted_counts():
    metrics = _metrics()
    groups, names = _bars(plots.predicted_class_bars(metrics))
    assert groups["true"] == [one.support for one in metrics.per_class]
    assert groups["predicted"] == [one.predicted for one in metrics.per_class]
    assert names == list(metrics.label_names)


def test_bars_of_many_classes_show_the_most_frequent_and_say_so():
    metrics = _metrics(77, items=3000)
    figure = plots.predicted_class_bars(metrics)
    groups, names = _bars(figure)
    most = sorted((max(one.support, one.predicted) for one in metrics.per_class), reverse=True)[:30]
    assert [max(pair) for pair in zip(groups["true"], groups["predicted"], strict=True)] == most
    assert len(names) == 30
    assert "30 most frequent of 77" in figure.axes[0].get_xlabel()


def test_label_scores_show_f1_and_average_precision_the_weakest_first():
    metrics = _label_metrics()
    axes = plots.label_scores(metrics).axes[0]
    ranked = sorted(metrics.per_class, key=lambda one: one.f1.value)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [one.label for one in ranked]
    lines = {line.get_label(): line for line in axes.lines}
    known = [one.average_precision for one in ranked if one.average_precision is not None]
    assert list(lines["average precision"].get_xdata()) == known
    (container,) = axes.containers
    assert list(container.lines[0].get_xdata()) == [one.f1.value for one in ranked]


def test_plots_of_several_labels_say_labels():
    metrics = _label_metrics()
    upper, lower = plots.reliability_diagram(metrics).axes
    assert (upper.get_ylabel(), lower.get_yscale()) == ("share that applies in the bin", "log")
    assert np.asarray(upper.collections[0].get_offsets())[:, 1].tolist() == pytest.approx(
        [one.accuracy for one in metrics.reliability_uncalibrated if one.count]
    )
    groups, names = _bars(plots.predicted_class_bars(metrics))
    assert (groups["true"], names) == ([one.support for one in metrics.per_class], list(metrics.label_names))


HOSTILE = ["<script>alert(1)</script>", "$\\frac{x}$", "W" * 500, "\ud800\x00\u202e", "كرة القدم", ""]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("plot", [plots.confusion_matrix, plots.reliability_diagram, plots.predicted_class_bars])
def test_any_class_name_can_be_drawn(plot):
    figure = plot(_metrics(len(HOSTILE), names=HOSTILE))
    assert plots.as_png(figure).startswith(PNG)


@pytest.mark.filterwarnings("error")
def test_any_label_can_be_drawn():
    assert plots.as_png(plots.label_scores(_label_metrics(HOSTILE[:5]))).startswith(PNG)


def test_save_plots_writes_png_files(tmp_path):
    plots.save_plots({"loss": plots.loss_curves(_history()), "bars": plots.predicted_class_bars(_metrics())}, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bars.png", "loss.png"]
    assert all(path.read_bytes().startswith(PNG) for path in tmp_path.iterdir())


def test_save_plots_names_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="cannot write"):
        plots.save_plots({"loss": plots.loss_curves(_history())}, tmp_path / "file")
