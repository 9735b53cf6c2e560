#!/usr/bin/env python3
"""Metrics against scikit-learn's on random and degenerate inputs: a class that is never true or
never predicted, ties in scores, one class only, no positives."""
import ctypes
import math
import sys
import unittest

try:
    import numpy as np
    from sklearn import calibration, metrics
except ImportError as missing:
    print(f"skipped: scikit-learn is not installed for {sys.executable} ({missing})")
    sys.exit(77)

import cresset as cr

lib = cr.lib
RANDOM = np.random.default_rng(7)
DOUBLE, LONG, POINTER, INT = ctypes.c_double, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int


class Task(ctypes.Structure):
    _fields_ = [("truth", POINTER), ("truth_stride", LONG), ("positive", LONG),
                ("scores", POINTER), ("score_stride", LONG), ("count", LONG)]


class Curve(ctypes.Structure):
    _fields_ = [("count", LONG), ("x", ctypes.POINTER(DOUBLE)), ("y", ctypes.POINTER(DOUBLE)),
                ("threshold", ctypes.POINTER(DOUBLE))]

    def arrays(self):
        return [np.array(values[:self.count]) for values in (self.x, self.y, self.threshold)]


class Bin(ctypes.Structure):
    _fields_ = [("count", LONG), ("mean_score", DOUBLE), ("positive_rate", DOUBLE)]


class ClassScores(ctypes.Structure):
    _fields_ = [("precision", DOUBLE), ("recall", DOUBLE), ("f1", DOUBLE), ("support", LONG)]

    def numbers(self):
        return [self.precision, self.recall, self.f1]


class MultilabelAverages(ctypes.Structure):
    _fields_ = [(name, ClassScores) for name in ("micro", "macro", "weighted", "samples")] + \
        [("subset_accuracy", DOUBLE), ("hamming_loss", DOUBLE)]


class Estimate(ctypes.Structure):
    _fields_ = [("value", DOUBLE), ("low", DOUBLE), ("high", DOUBLE)]

    def numbers(self):
        return [self.value, self.low, self.high]


class BootstrapArgs(ctypes.Structure):
    _fields_ = [("replicates", LONG), ("level", DOUBLE), ("seed", ctypes.c_uint64)]


NAMES = """accuracy top_k_accuracy balanced_accuracy precision_macro recall_macro f1_macro
f1_weighted cohen_kappa quadratic_kappa matthews_corrcoef roc_auc_macro roc_auc_weighted
average_precision_macro average_precision_weighted log_loss brier_score calibration_error""".split()


class ClassEstimates(ctypes.Structure):
    _fields_ = [(name, Estimate) for name in
                ("precision", "recall", "f1", "roc_auc", "average_precision")] + \
        [("support", LONG), ("predicted", LONG)]


class Scores(ctypes.Structure):
    _fields_ = [("count", LONG), ("classes", LONG), ("top_k", LONG), ("level", DOUBLE),
                ("metric", Estimate * len(NAMES)), ("per_class", ctypes.POINTER(ClassEstimates)),
                ("bins", ctypes.POINTER(Bin)), ("bin_count", LONG)]


class ScoreArgs(ctypes.Structure):
    _fields_ = [("truth", POINTER), ("predicted", POINTER), ("probabilities", POINTER),
                ("count", LONG), ("classes", LONG), ("top_k", LONG), ("bins", LONG),
                ("bootstrap", BootstrapArgs), ("no_intervals", ctypes.c_bool)]


METRIC = ctypes.CFUNCTYPE(DOUBLE, ctypes.POINTER(LONG), LONG, POINTER)
for name, result, arguments in [
        ("cr_roc_curve", INT, [POINTER, ctypes.c_bool, POINTER]),
        ("cr_precision_recall_curve", INT, [POINTER, POINTER]),
        ("cr_curve_free", None, [POINTER]),
        ("cr_roc_auc_score", DOUBLE, [POINTER]),
        ("cr_average_precision_score", DOUBLE, [POINTER]),
        ("cr_roc_auc_one_vs_rest", DOUBLE, [POINTER, POINTER, LONG, LONG, INT]),
        ("cr_average_precision_one_vs_rest", DOUBLE, [POINTER, POINTER, LONG, LONG, INT]),
        ("cr_roc_auc_multilabel", DOUBLE, [POINTER, POINTER, LONG, LONG, INT]),
        ("cr_average_precision_multilabel", DOUBLE, [POINTER, POINTER, LONG, LONG, INT]),
        ("cr_log_loss", DOUBLE, [POINTER, POINTER, LONG, LONG]),
        ("cr_brier_score_loss", DOUBLE, [POINTER, POINTER, LONG, LONG]),
        ("cr_calibration_curve", INT, [POINTER, LONG, POINTER]),
        ("cr_calibration_of_classifier", INT, [POINTER, POINTER, LONG, LONG, LONG, POINTER]),
        ("cr_expected_calibration_error", DOUBLE, [POINTER, LONG]),
        ("cr_multilabel_scores", INT, [POINTER, POINTER, LONG, LONG, DOUBLE, POINTER, POINTER]),
        ("cr_multilabel_report", POINTER, [POINTER, POINTER, LONG, LONG, POINTER, POINTER]),
        ("cr_classification_report_csv", POINTER, [POINTER, LONG, POINTER, POINTER]),
        ("cr_classification_report", POINTER, [POINTER, LONG, POINTER, POINTER]),
        ("cr_confusion_matrix_normalize", INT, [POINTER, LONG, INT, POINTER]),
        ("cr_bootstrap_draw", None, [ctypes.c_uint64, LONG, LONG, POINTER]),
        ("cr_bootstrap", INT, [METRIC, POINTER, LONG, BootstrapArgs, POINTER]),
        ("cr_score_classifier", INT, [ScoreArgs, POINTER]),
        ("cr_classifier_scores_free", None, [POINTER]),
        ("cr_metric_word", ctypes.c_char_p, [INT]),
        ("cr_set_num_threads", None, [INT]),
        ("cr_error_message", ctypes.c_char_p, []),
        ("cr_error_clear", None, []),
        ("cr_free", None, [POINTER])]:
    getattr(lib, name).restype = result
    getattr(lib, name).argtypes = arguments


def at(array):
    return array.ctypes.data


def binary(truth, scores):
    """A task over arrays, which it keeps alive."""
    truth = np.ascontiguousarray(truth, np.int64)
    scores = np.ascontiguousarray(scores, np.float32)
    task = Task(at(truth), 0, 1, at(scores), 0, len(truth))
    task.kept = (truth, scores)
    return task


def taken(pointer):
    text = ctypes.string_at(pointer).decode()
    lib.cr_free(pointer)
    return text


def refused(test, words):
    message = lib.cr_error_message().decode()
    lib.cr_error_clear()
    test.assertIn(words, message)


def near(test, ours, theirs, tolerance=1e-12):
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def classifier(count, classes, sharp=1.5, ties=False):
    """Labels and probabilities that know something of them."""
    truth = RANDOM.integers(0, classes, count)
    logits = RANDOM.normal(0, 1, (count, classes))
    logits[np.arange(count), truth] += sharp
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(1, keepdims=True)
    if ties:
        probabilities = np.round(probabilities * 4) / 4 + 1e-3
        probabilities /= probabilities.sum(1, keepdims=True)
    return truth.astype(np.int64), probabilities.astype(np.float32)


def binary_cases():
    for count in (2, 3, 10, 1000):
        truth = RANDOM.integers(0, 2, count)
        truth[:2] = 0, 1
        scores = RANDOM.normal(truth, 1).astype(np.float32)
        yield truth, scores
        yield truth, np.round(scores)
        yield truth, np.zeros(count, np.float32)
        yield truth, -np.abs(scores)
        yield truth, truth * 1.0
        yield truth, 1.0 - truth
    yield np.array([0, 1, 0, 1]), np.array([0.0, -0.0, -0.0, 0.0])


class Ranking(unittest.TestCase):
    def curve(self, function, *arguments):
        curve = Curve()
        self.assertEqual(function(*arguments, ctypes.byref(curve)), 0)
        arrays = curve.arrays()
        lib.cr_curve_free(ctypes.byref(curve))
        return arrays

    def test_roc_curve(self):
        for truth, scores in binary_cases():
            for keep in (False, True):
                task = binary(truth, scores)
                x, y, threshold = self.curve(lib.cr_roc_curve, ctypes.byref(task), keep)
                theirs = metrics.roc_curve(truth, task.kept[1], drop_intermediate=not keep)
                near(self, x, theirs[0])
                near(self, y, theirs[1])
                near(self, threshold[1:], theirs[2][1:])
                self.assertEqual(threshold[0], math.inf)

    def test_precision_recall_curve(self):
        for truth, scores in binary_cases():
            task = binary(truth, scores)
            recall, precision, threshold = self.curve(lib.cr_precision_recall_curve,
                                                      ctypes.byref(task))
            theirs = metrics.precision_recall_curve(truth, task.kept[1])
            near(self, precision, theirs[0])
            near(self, recall, theirs[1])
            near(self, threshold[:-1], theirs[2])

    def test_areas(self):
        for truth, scores in binary_cases():
            task = binary(truth, scores)
            near(self, lib.cr_roc_auc_score(ctypes.byref(task)),
                 metrics.roc_auc_score(truth, task.kept[1]))
            near(self, lib.cr_average_precision_score(ctypes.byref(task)),
                 metrics.average_precision_score(truth, task.kept[1]))

    def test_one_class_only(self):
        for truth in (np.zeros(5), np.ones(5)):
            task = binary(truth, RANDOM.normal(0, 1, 5))
            self.assertTrue(math.isnan(lib.cr_roc_auc_score(ctypes.byref(task))))
            near(self, lib.cr_average_precision_score(ctypes.byref(task)),
                 metrics.average_precision_score(truth, task.kept[1]))
            ours = self.curve(lib.cr_roc_curve, ctypes.byref(task), False)
            theirs = metrics.roc_curve(truth, task.kept[1])
            np.testing.assert_array_equal(np.isnan(ours[0]), np.isnan(theirs[0]))
            np.testing.assert_array_equal(np.isnan(ours[1]), np.isnan(theirs[1]))
            recall, precision, _ = self.curve(lib.cr_precision_recall_curve, ctypes.byref(task))
            theirs = metrics.precision_recall_curve(truth, task.kept[1])
            near(self, precision, theirs[0])
            near(self, recall, theirs[1])

    def test_nothing_and_nan(self):
        empty = binary([], [])
        self.assertTrue(math.isnan(lib.cr_roc_auc_score(ctypes.byref(empty))))
        self.assertTrue(math.isnan(lib.cr_average_precision_score(ctypes.byref(empty))))
        curve = Curve()
        self.assertNotEqual(lib.cr_roc_curve(ctypes.byref(empty), False, ctypes.byref(curve)), 0)
        refused(self, "no samples")
        bad = binary([0, 1], [0.5, math.nan])
        self.assertTrue(math.isnan(lib.cr_roc_auc_score(ctypes.byref(bad))))
        refused(self, "sample 1 is not a number")
        endless = binary([0, 1, 1], [-math.inf, 0.5, math.inf])
        near(self, lib.cr_roc_auc_score(ctypes.byref(endless)), 1)

    def test_one_against_the_rest(self):
        for classes in (2, 3, 7):
            for ties in (False, True):
                truth, p = classifier(300, classes, ties=ties)
                truth[:classes] = np.arange(classes)
                marks = np.eye(classes)[truth]
                for number, average in enumerate(("macro", "weighted")):
                    near(self, lib.cr_roc_auc_one_vs_rest(at(truth), at(p), 300, classes, number),
                         metrics.roc_auc_score(marks, p, average=average))
                    near(self, lib.cr_average_precision_one_vs_rest(at(truth), at(p), 300, classes,
                                                                    number),
                         metrics.average_precision_score(marks, p, average=average))
        truth, p = classifier(200, 3)
        near(self, lib.cr_roc_auc_one_vs_rest(at(truth), at(p), 200, 3, 0),
             metrics.roc_auc_score(truth, p, multi_class="ovr", average="macro"), 1e-7)

    def test_a_class_that_is_never_true_is_left_out(self):
        truth, p = classifier(100, 4)
        truth[truth == 2] = 0
        marks = np.eye(4)[truth]
        kept = [0, 1, 3]
        near(self, lib.cr_roc_auc_one_vs_rest(at(truth), at(p), 100, 4, 0),
             metrics.roc_auc_score(marks[:, kept], p[:, kept]))
        near(self, lib.cr_average_precision_one_vs_rest(at(truth), at(p), 100, 4, 0),
             metrics.average_precision_score(marks[:, kept], p[:, kept]))
        truth[:] = 5
        self.assertTrue(math.isnan(lib.cr_roc_auc_one_vs_rest(at(truth), at(p), 100, 4, 0)))
        refused(self, "true label 5")


class Probabilities(unittest.TestCase):
    def test_losses(self):
        for classes in (2, 5):
            truth, p = classifier(400, classes)
            p[:3] = np.eye(classes, dtype=np.float32)[(truth[:3] + [0, 1, 1]) % classes]
            labels = list(range(classes))
            near(self, lib.cr_log_loss(at(truth), at(p), 400, classes),
                 metrics.log_loss(truth, p, labels=labels), 1e-6)
            brier = ((p.astype(float) - np.eye(classes)[truth]) ** 2).sum(1).mean()
            near(self, lib.cr_brier_score_loss(at(truth), at(p), 400, classes),
                 brier if classes > 2 else metrics.brier_score_loss(truth, p[:, 1]), 1e-7)
        self.assertTrue(math.isnan(lib.cr_log_loss(at(truth), at(p), 0, 5)))
        p[7, 1] = math.nan
        truth[7] = 1
        self.assertTrue(math.isnan(lib.cr_log_loss(at(truth), at(p), 400, 5)))
        self.assertTrue(math.isnan(lib.cr_brier_score_loss(at(truth), at(p), 400, 5)))

    def test_reliability(self):
        for bins in (1, 5, 15, 100):
            for scores in (RANDOM.uniform(0, 1, 500), RANDOM.integers(0, bins + 1, 500) / bins,
                           np.zeros(500), np.ones(500)):
                truth = RANDOM.integers(0, 2, 500)
                task = binary(truth, scores)
                out = (Bin * bins)()
                self.assertEqual(lib.cr_calibration_curve(ctypes.byref(task), bins, out), 0)
                rate, mean = calibration.calibration_curve(truth, task.kept[1].astype(float),
                                                           n_bins=bins)
                full = [b for b in out if b.count > 0]
                near(self, [b.positive_rate for b in full], rate)
                near(self, [b.mean_score for b in full], mean)
                error = sum(b.count * abs(b.positive_rate - b.mean_score) for b in full) / 500
                near(self, lib.cr_expected_calibration_error(out, bins), error)
        task = binary([0, 1], [0.5, 1.5])
        self.assertNotEqual(lib.cr_calibration_curve(ctypes.byref(task), 10, out), 0)
        refused(self, "score 1.5 of sample 1")

    def test_reliability_of_a_classifier(self):
        truth, p = classifier(600, 6)
        out = (Bin * 15)()
        self.assertEqual(lib.cr_calibration_of_classifier(at(truth), at(p), 600, 6, 15, out), 0)
        right, sure = p.argmax(1) == truth, p.max(1).astype(float)
        rate, mean = calibration.calibration_curve(right, sure, n_bins=15)
        near(self, [b.positive_rate for b in out if b.count], rate)
        near(self, [b.mean_score for b in out if b.count], mean)


class Multilabel(unittest.TestCase):
    def test_scores(self):
        cases = [(RANDOM.integers(0, 2, (50, 4)), RANDOM.integers(0, 2, (50, 4))),
                 (np.zeros((5, 3), int), np.zeros((5, 3), int)),
                 (np.eye(3, dtype=int), np.zeros((3, 3), int)),
                 (np.zeros((3, 3), int), np.eye(3, dtype=int)),
                 (np.ones((1, 2), int), np.ones((1, 2), int))]
        for truth, guess in cases:
            truth, guess = truth.astype(np.int64), guess.astype(np.int64)
            count, labels = truth.shape
            for zero in (0, 1):
                each = (ClassScores * labels)()
                averages = MultilabelAverages()
                self.assertEqual(lib.cr_multilabel_scores(at(truth), at(guess), count, labels, zero,
                                                          each, ctypes.byref(averages)), 0)
                theirs = metrics.precision_recall_fscore_support(truth, guess, zero_division=zero)
                near(self, [s.numbers() for s in each],
                     np.stack([theirs[0], theirs[1], f1_of(truth, guess, zero)], 1))
                self.assertEqual([s.support for s in each], theirs[3].tolist())
                for average in ("micro", "macro", "weighted", "samples"):
                    theirs = metrics.precision_recall_fscore_support(
                        truth, guess, average=average, zero_division=zero)
                    ours = getattr(averages, average).numbers()
                    near(self, ours[:2], theirs[:2])
                    if zero == 0:
                        near(self, ours[2], theirs[2])
                near(self, averages.subset_accuracy, metrics.accuracy_score(truth, guess))
                near(self, averages.hamming_loss, metrics.hamming_loss(truth, guess))

    def test_areas(self):
        truth = RANDOM.integers(0, 2, (60, 4))
        p = RANDOM.uniform(0, 1, (60, 4)).astype(np.float32).round(1)
        for number, average in enumerate(("macro", "weighted")):
            near(self, lib.cr_roc_auc_multilabel(at(truth), at(p), 60, 4, number),
                 metrics.roc_auc_score(truth, p, average=average))
            near(self, lib.cr_average_precision_multilabel(at(truth), at(p), 60, 4, number),
                 metrics.average_precision_score(truth, p, average=average))
        truth[:, 2] = 0
        near(self, lib.cr_roc_auc_multilabel(at(truth), at(p), 60, 4, 0),
             metrics.roc_auc_score(truth[:, [0, 1, 3]], p[:, [0, 1, 3]]))

    def test_report(self):
        truth = RANDOM.integers(0, 2, (40, 3))
        guess = RANDOM.integers(0, 2, (40, 3))
        names = (ctypes.c_char_p * 3)(b"drusen", b"fluid", b"a long name of a label")
        ours = taken(lib.cr_multilabel_report(at(truth), at(guess), 40, 3, names, None))
        self.assertEqual(ours, metrics.classification_report(
            truth, guess, target_names=[n.decode() for n in names], zero_division=0))
        truth[3, 1] = 2
        self.assertIsNone(lib.cr_multilabel_report(at(truth), at(guess), 40, 3, names, None))
        refused(self, "label 1 of sample 3 is 2")


def f1_of(truth, guess, zero):
    """F1 where nothing is true or predicted counts as `zero`, whatever precision and recall are."""
    right, all_ = (truth & guess).sum(0), truth.sum(0) + guess.sum(0)
    return np.where(all_ > 0, 2 * right / np.maximum(all_, 1), zero)


class Reports(unittest.TestCase):
    def test_text_csv_and_matrix_on_random_labels(self):
        for classes, count in ((2, 30), (4, 100), (5, 8)):
            truth = RANDOM.integers(0, classes, count)
            guess = RANDOM.integers(0, max(classes - 1, 1), count)  # the last is never predicted
            labels = list(range(classes))
            matrix = metrics.confusion_matrix(truth, guess, labels=labels).astype(np.int64)
            ours = taken(lib.cr_classification_report(at(matrix), classes, None, None))
            self.assertEqual(ours, metrics.classification_report(truth, guess, labels=labels,
                                                                 zero_division=0))
            rows = taken(lib.cr_classification_report_csv(at(matrix), classes, None, None))
            theirs = metrics.classification_report(truth, guess, labels=labels, output_dict=True,
                                                   zero_division=0)
            lines = [line.split(",") for line in rows.splitlines()]
            self.assertEqual(lines[0], ["class", "precision", "recall", "f1-score", "support"])
            for line in lines[1:]:
                if line[0] == "accuracy":
                    near(self, float(line[3]), theirs["accuracy"])
                    continue
                near(self, [float(x) for x in line[1:]], [theirs[line[0]][k] for k in lines[0][1:]])
            for number, norm in enumerate((None, "true", "pred", "all")):
                out = np.empty((classes, classes))
                lib.cr_confusion_matrix_normalize(at(matrix), classes, number, at(out))
                near(self, out, metrics.confusion_matrix(truth, guess, labels=labels,
                                                         normalize=norm))


def sklearn_scores(truth, p, classes, k, bins):
    """Every score of the table for one set of samples, by scikit-learn's functions."""
    guess = p.argmax(1)
    marks = np.eye(classes)[truth]
    both = [c for c in range(classes) if 0 < marks[:, c].sum() < len(truth)]
    some = [c for c in range(classes) if marks[:, c].any()]
    weights = marks.sum(0)

    def mean(values, of, weighted):
        if not of:
            return math.nan
        return np.average(values, weights=weights[of] if weighted else None)
    areas = [metrics.roc_auc_score(marks[:, c], p[:, c]) for c in both]
    precisions = [metrics.average_precision_score(marks[:, c], p[:, c]) for c in some]
    rate, mean_score = calibration.calibration_curve(guess == truth, p.max(1).astype(float),
                                                     n_bins=bins)
    edges = np.linspace(0, 1, bins + 1)
    sizes = np.bincount(np.searchsorted(edges[1:-1], p.max(1).astype(float)), minlength=bins)
    top = [row[t] > np.delete(row, t) for row, t in zip(p, truth)]
    every = list(range(classes))
    return [
        metrics.accuracy_score(truth, guess),
        np.mean([(~higher).sum() < k for higher in top]),
        metrics.balanced_accuracy_score(truth, guess),
        metrics.precision_score(truth, guess, average="macro", zero_division=0),
        metrics.recall_score(truth, guess, average="macro", zero_division=0),
        metrics.f1_score(truth, guess, average="macro", zero_division=0),
        metrics.f1_score(truth, guess, average="weighted", zero_division=0),
        metrics.cohen_kappa_score(truth, guess, labels=every),
        metrics.cohen_kappa_score(truth, guess, labels=every, weights="quadratic"),
        metrics.matthews_corrcoef(truth, guess),
        mean(areas, both, False), mean(areas, both, True),
        mean(precisions, some, False), mean(precisions, some, True),
        metrics.log_loss(truth, p, labels=every),
        ((p.astype(float) - marks) ** 2).sum(1).mean() / (2 if classes == 2 else 1),
        (sizes[sizes > 0] * abs(rate - mean_score)).sum() / len(truth)]


def score(truth, p, **more):
    args = ScoreArgs(truth=at(truth), probabilities=at(p), count=len(p), classes=p.shape[1], **more)
    scores = Scores()
    status = lib.cr_score_classifier(args, ctypes.byref(scores))
    return status, scores


class AllScores(unittest.TestCase):
    def test_names(self):
        self.assertEqual([lib.cr_metric_word(m).decode() for m in range(len(NAMES))], NAMES)

    def test_values(self):
        cases = [classifier(300, 4), classifier(300, 2), classifier(40, 6, ties=False)]
        never = classifier(80, 4)
        never[0][never[0] == 1] = 2
        one = (np.zeros(20, np.int64), classifier(20, 3)[1])
        for truth, p in cases + [never, one]:
            classes = p.shape[1]
            status, scores = score(truth, p, top_k=2, bins=10, no_intervals=True)
            self.assertEqual(status, 0)
            theirs = sklearn_scores(truth, p, classes, 2, 10)
            for name, ours, their in zip(NAMES, scores.metric, theirs):
                with self.subTest(name, classes=classes):
                    near(self, ours.value, their, 1e-6)
                    self.assertTrue(math.isnan(ours.low))
            lib.cr_classifier_scores_free(ctypes.byref(scores))

    def test_per_class(self):
        truth, p = classifier(500, 5)
        _, scores = score(truth, p, no_intervals=True)
        theirs = metrics.precision_recall_fscore_support(truth, p.argmax(1))
        for c in range(5):
            own = scores.per_class[c]
            near(self, [own.precision.value, own.recall.value, own.f1.value, own.support],
                 [column[c] for column in theirs])
            near(self, own.roc_auc.value, metrics.roc_auc_score(truth == c, p[:, c]))
            near(self, own.average_precision.value,
                 metrics.average_precision_score(truth == c, p[:, c]))
        lib.cr_classifier_scores_free(ctypes.byref(scores))

    def test_intervals_are_those_of_scikit_learn_on_the_same_draws(self):
        truth, p = classifier(60, 3)
        replicates = 60
        args = BootstrapArgs(replicates, 0.9, 5)
        _, scores = score(truth, p, top_k=2, bins=10, bootstrap=args)
        rows = []
        drawn = np.empty(60, np.int64)
        for r in range(replicates):
            lib.cr_bootstrap_draw(5, r, 60, at(drawn))
            self.assertTrue((drawn >= 0).all() and (drawn < 60).all())
            rows.append(sklearn_scores(truth[drawn], p[drawn], 3, 2, 10))
        low, high = np.nanpercentile(np.array(rows), [5, 95], axis=0)
        for m, name in enumerate(NAMES):
            with self.subTest(name):
                near(self, scores.metric[m].numbers()[1:], [low[m], high[m]], 1e-6)
        lib.cr_classifier_scores_free(ctypes.byref(scores))

    def test_a_metric_of_the_caller(self):
        values = RANDOM.normal(0, 1, 200)
        metric = METRIC(lambda indices, count, _: float(values[indices[:count]].mean()))
        estimate = Estimate()
        self.assertEqual(lib.cr_bootstrap(metric, None, 200, BootstrapArgs(400, 0, 1),
                                          ctypes.byref(estimate)), 0)
        near(self, estimate.value, values.mean())
        spread = 1.96 * values.std() / math.sqrt(200)
        near(self, [estimate.low, estimate.high], [values.mean() - spread, values.mean() + spread],
             0.2 * spread)
        self.assertNotEqual(lib.cr_bootstrap(metric, None, 0, BootstrapArgs(),
                                             ctypes.byref(estimate)), 0)
        refused(self, "no samples")

    def test_same_bits_at_any_number_of_threads(self):
        truth, p = classifier(700, 5)
        seen = []
        for threads in (1, 2, 3, 7):
            lib.cr_set_num_threads(threads)
            _, scores = score(truth, p, bootstrap=BootstrapArgs(100, 0, 3))
            seen.append(bytes(scores.metric) + bytes(scores.per_class[4]))
            lib.cr_classifier_scores_free(ctypes.byref(scores))
        lib.cr_set_num_threads(0)
        self.assertEqual(len(set(seen)), 1)

    def test_scores_that_are_no_probabilities(self):
        truth, p = classifier(50, 3)
        guess = p.argmax(1)
        p[4, 1] = math.nan
        status, scores = score(truth, p, predicted=at(guess))
        self.assertEqual(status, 0)
        values = dict(zip(NAMES, (m.value for m in scores.metric)))
        near(self, values["accuracy"], metrics.accuracy_score(truth, guess))
        for name in ("roc_auc_macro", "average_precision_macro", "brier_score",
                     "calibration_error"):
            self.assertTrue(math.isnan(values[name]), name)
        lib.cr_classifier_scores_free(ctypes.byref(scores))

    def test_bad_arguments(self):
        truth, p = classifier(10, 3)
        truth[2] = 3
        self.assertNotEqual(score(truth, p)[0], 0)
        refused(self, "true label 3 of sample 2")
        self.assertNotEqual(score(truth[:0], p[:0])[0], 0)
        refused(self, "0 samples of 3 classes")
        truth[2] = 0
        self.assertNotEqual(score(truth, p, bootstrap=BootstrapArgs(5, 1.5, 0))[0], 0)
        refused(self, "level 1.5")


if __name__ == "__main__":
    unittest.main(warnings="ignore")
