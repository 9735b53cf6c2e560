/* All scores of a classifier at once, each with its bootstrap interval. What does not change from
 * replicate to replicate is prepared once: each sample's place in the ranking of every class, its
 * bin of confidence, its share of log loss and Brier score. A replicate is then a weight for each
 * sample (how often it was drawn), and every score is a weighted sum over samples, so that it costs
 * one pass; the value itself is the replicate whose weights are all one. Replicates are dealt out
 * to a fixed number of parts, each with memory of its own, so the bits do not depend on threads. */
#include <math.h>
#include <string.h>

#include "metrics/metrics.h"

enum { PARTS = 16 };

/* The scores of one class in one replicate. */
enum { PRECISION, RECALL, F1, ROC_AUC, AVERAGE_PRECISION, CLASS_SCORES };

const char *cr_metric_word(cr_metric metric)
{
#define WORD(name, word, title) word,
    static const char *const words[] = { CR_METRIC_TABLE(WORD) };
#undef WORD
    return metric >= 0 && metric < CR_METRIC_COUNT ? words[metric] : "?";
}

const char *cr_metric_title(cr_metric metric)
{
#define TITLE(name, word, title) title,
    static const char *const titles[] = { CR_METRIC_TABLE(TITLE) };
#undef TITLE
    return metric >= 0 && metric < CR_METRIC_COUNT ? titles[metric] : "?";
}

/* What every replicate reads. */
struct prepared {
    const cr_score_args *args;
    int64_t count, classes, bins, top_k;
    int64_t *predicted;               /* (count) */
    bool *in_top;                     /* (count) true class among the top k */
    double *loss, *brier;             /* (count) */
    float *confidence;                /* (count), NaN where it is none */
    uint8_t *bin;                     /* (count) */
    struct metrics_ranking *rankings; /* (classes); NULL where scores are not ranked */
    bool has_areas, has_confidence;
};

/* What one part of the replicates writes while it works. */
struct scratch {
    uint32_t *weights;                  /* (count) */
    int64_t *truth, *predicted, *right; /* (classes) */
    int64_t bin_count[CR_MAX_CALIBRATION_BINS], bin_right[CR_MAX_CALIBRATION_BINS];
    double bin_score[CR_MAX_CALIBRATION_BINS];
};

/* ---- one replicate ---- */

static void draw_weights(uint64_t seed, int64_t replicate, int64_t count, uint32_t *weights)
{
    memset(weights, 0, (size_t)count * sizeof *weights);
    for (int64_t i = 0; i < count; i += 2) {
        uint32_t word[4];
        cr_philox(seed, (uint64_t)replicate, (uint64_t)i / 2, word);
        for (int k = 0; k < 2 && i + k < count; k++)
            weights[metrics_draw_below(word + 2 * k, count)]++;
    }
}

/* Counts by class, and the sums over samples that need no class. */
static void add_up(const struct prepared *p, struct scratch *s, double *metric, double *distance)
{
    const int64_t *truth = p->args->truth;
    double top = 0, loss = 0, brier = 0, squares = 0;
    size_t room = (size_t)p->classes * sizeof(int64_t);
    memset(s->truth, 0, room);
    memset(s->predicted, 0, room);
    memset(s->right, 0, room);
    for (int64_t i = 0; i < p->count; i++) {
        uint32_t weight = s->weights[i];
        if (weight == 0)
            continue;
        int64_t apart = truth[i] - p->predicted[i];
        s->truth[truth[i]] += weight;
        s->predicted[p->predicted[i]] += weight;
        s->right[truth[i]] += apart == 0 ? weight : 0;
        squares += weight * (double)(apart * apart);
        top += p->in_top[i] ? weight : 0;
        loss += weight * p->loss[i];
        brier += weight * p->brier[i];
    }
    metric[CR_METRIC_TOP_K_ACCURACY] = top / (double)p->count;
    metric[CR_METRIC_LOG_LOSS] = loss / (double)p->count;
    metric[CR_METRIC_BRIER] = brier / (double)p->count;
    *distance = squares;
}

/* Cohen's kappa and Matthews' correlation from the margins; n is the number of samples. */
static void score_agreement(const struct prepared *p, const struct scratch *s, double right,
                            double squares, double *metric)
{
    double n = (double)p->count;
    double cross = 0, truths = 0, guesses = 0;
    double mean_truth = 0, mean_guess = 0, square_truth = 0, square_guess = 0;
    for (int64_t c = 0; c < p->classes; c++) {
        double truth = (double)s->truth[c];
        double guess = (double)s->predicted[c];
        double place = (double)c;
        cross += truth * guess;
        truths += truth * truth;
        guesses += guess * guess;
        mean_truth += place * truth;
        mean_guess += place * guess;
        square_truth += place * place * truth;
        square_guess += place * place * guess;
    }
    double expected = n - cross / n;
    metric[CR_METRIC_COHEN_KAPPA] = expected == 0 ? NAN : 1 - (n - right) / expected;
    double expected_squares = square_truth + square_guess - 2 * mean_truth * mean_guess / n;
    metric[CR_METRIC_QUADRATIC_KAPPA] =
        expected_squares == 0 ? NAN : 1 - squares / expected_squares;
    double spread = (n * n - truths) * (n * n - guesses);
    metric[CR_METRIC_MATTHEWS] = spread == 0 ? 0 : (right * n - cross) / sqrt(spread);
}

/* Precision, recall and F1 of each class and their means. */
static void score_classes(const struct prepared *p, const struct scratch *s, double *metric,
                          double *per_class)
{
    double precision = 0, recall = 0, f1 = 0, weighted = 0, right = 0;
    int64_t met = 0, true_classes = 0;
    for (int64_t c = 0; c < p->classes; c++) {
        cr_class_scores scores = metrics_class_scores(s->right[c], s->predicted[c], s->truth[c], 0);
        per_class[c * CLASS_SCORES + PRECISION] = scores.precision;
        per_class[c * CLASS_SCORES + RECALL] = scores.recall;
        per_class[c * CLASS_SCORES + F1] = scores.f1;
        right += (double)s->right[c];
        met += s->truth[c] + s->predicted[c] > 0;
        true_classes += s->truth[c] > 0;
        precision += scores.precision;
        recall += scores.recall;
        f1 += scores.f1;
        weighted += scores.f1 * (double)s->truth[c];
    }
    metric[CR_METRIC_ACCURACY] = right / (double)p->count;
    metric[CR_METRIC_BALANCED_ACCURACY] = recall / (double)true_classes;
    metric[CR_METRIC_PRECISION_MACRO] = precision / (double)met;
    metric[CR_METRIC_RECALL_MACRO] = recall / (double)met;
    metric[CR_METRIC_F1_MACRO] = f1 / (double)met;
    metric[CR_METRIC_F1_WEIGHTED] = weighted / (double)p->count;
}

static void score_areas(const struct prepared *p, const struct scratch *s, double *metric,
                        double *per_class)
{
    double roc[2] = { 0, 0 }, precision[2] = { 0, 0 }; /* plain and weighted sums */
    double roc_weights[2] = { 0, 0 }, precision_weights[2] = { 0, 0 };
    for (int64_t c = 0; c < p->classes; c++) {
        struct metrics_areas areas = metrics_areas_of(&p->rankings[c], s->weights);
        double weights[2] = { 1, (double)areas.positives };
        per_class[c * CLASS_SCORES + ROC_AUC] = areas.roc;
        per_class[c * CLASS_SCORES + AVERAGE_PRECISION] = areas.precision;
        for (int k = 0; k < 2; k++) {
            roc[k] += isnan(areas.roc) ? 0 : weights[k] * areas.roc;
            roc_weights[k] += isnan(areas.roc) ? 0 : weights[k];
            precision[k] += isnan(areas.precision) ? 0 : weights[k] * areas.precision;
            precision_weights[k] += isnan(areas.precision) ? 0 : weights[k];
        }
    }
    metric[CR_METRIC_ROC_AUC_MACRO] = roc[0] / roc_weights[0];
    metric[CR_METRIC_ROC_AUC_WEIGHTED] = roc[1] / roc_weights[1];
    metric[CR_METRIC_AVERAGE_PRECISION_MACRO] = precision[0] / precision_weights[0];
    metric[CR_METRIC_AVERAGE_PRECISION_WEIGHTED] = precision[1] / precision_weights[1];
}

static double calibration_error(const struct prepared *p, struct scratch *s)
{
    memset(s->bin_count, 0, sizeof s->bin_count);
    memset(s->bin_right, 0, sizeof s->bin_right);
    memset(s->bin_score, 0, sizeof s->bin_score);
    for (int64_t i = 0; i < p->count; i++) {
        uint32_t weight = s->weights[i];
        int bin = p->bin[i];
        s->bin_count[bin] += weight;
        s->bin_right[bin] += p->args->truth[i] == p->predicted[i] ? weight : 0;
        s->bin_score[bin] += weight * (double)p->confidence[i];
    }
    double sum = 0;
    for (int64_t b = 0; b < p->bins; b++)
        sum += fabs((double)s->bin_right[b] - s->bin_score[b]);
    return sum / (double)p->count;
}

/* Every score under the weights in the scratch. */
static void score_replicate(const struct prepared *p, struct scratch *s, bool areas, double *metric,
                            double *per_class)
{
    double squares;
    for (int m = 0; m < CR_METRIC_COUNT; m++)
        metric[m] = NAN;
    for (int64_t k = 0; k < p->classes * CLASS_SCORES; k++)
        per_class[k] = NAN;
    add_up(p, s, metric, &squares);
    score_classes(p, s, metric, per_class);
    double right = round(metric[CR_METRIC_ACCURACY] * (double)p->count);
    score_agreement(p, s, right, squares, metric);
    if (areas && p->has_areas)
        score_areas(p, s, metric, per_class);
    if (p->has_confidence)
        metric[CR_METRIC_CALIBRATION_ERROR] = calibration_error(p, s);
}

/* ---- preparing ---- */

/* Whether the true class is among the k highest; ties rank by falling class, as in top-k accuracy.
 */
static bool is_in_top(const float *probabilities, int64_t classes, int64_t truth, int64_t k)
{
    int64_t before = 0;
    for (int64_t c = 0; c < classes; c++) {
        bool equal = probabilities[c] == probabilities[truth] && c > truth;
        before += probabilities[c] > probabilities[truth] || equal || isnan(probabilities[c]);
    }
    return before < k;
}

static void prepare_sample(struct prepared *p, int64_t i)
{
    const float *row = p->args->probabilities + i * p->classes;
    int64_t truth = p->args->truth[i];
    int64_t best = 0;
    for (int64_t c = 1; c < p->classes; c++)
        best = row[c] > row[best] ? c : best;
    p->predicted[i] = p->args->predicted != NULL ? p->args->predicted[i] : best;
    p->in_top[i] = is_in_top(row, p->classes, truth, p->top_k);
    p->loss[i] = metrics_sample_log_loss(row, truth);
    p->brier[i] = metrics_sample_brier(row, p->classes, truth);
    p->confidence[i] = row[p->predicted[i]];
    for (int64_t c = 0; c < p->classes; c++)
        p->has_areas = p->has_areas && !isnan(row[c]);
    if (isnan(p->brier[i]))
        p->has_confidence = false;
    else
        p->bin[i] = (uint8_t)metrics_bin_of(p->confidence[i], p->bins);
}

static cr_status prepare_rankings(struct prepared *p)
{
    uint64_t *keys = cr_alloc_array((size_t)p->count, sizeof *keys);
    p->rankings = cr_alloc_zeroed((size_t)p->classes, sizeof *p->rankings);
    for (int64_t c = 0; keys != NULL && p->rankings != NULL && c < p->classes; c++) {
        cr_binary_task task = { .truth = p->args->truth,
                                .positive = c,
                                .scores = p->args->probabilities + c,
                                .score_stride = p->classes,
                                .count = p->count };
        if (metrics_rank(&task, keys, &p->rankings[c]) != CR_OK)
            break;
    }
    cr_free(keys);
    return cr_error_status();
}

static cr_status prepare(struct prepared *p, const cr_score_args *args)
{
    size_t count = (size_t)args->count;
    *p = (struct prepared){ .args = args,
                            .count = args->count,
                            .classes = args->classes,
                            .bins = args->bins != 0 ? args->bins : 15,
                            .top_k = args->top_k != 0 ? args->top_k : 5,
                            .has_areas = true,
                            .has_confidence = true };
    p->predicted = cr_alloc_array(count, sizeof *p->predicted);
    p->in_top = cr_alloc_array(count, sizeof *p->in_top);
    p->loss = cr_alloc_array(count, sizeof *p->loss);
    p->brier = cr_alloc_array(count, sizeof *p->brier);
    p->confidence = cr_alloc_array(count, sizeof *p->confidence);
    p->bin = cr_alloc_zeroed(count, sizeof *p->bin);
    if (cr_failed())
        return cr_error_status();
    for (int64_t i = 0; i < args->count; i++)
        prepare_sample(p, i);
    return p->has_areas ? prepare_rankings(p) : CR_OK;
}

static void prepared_free(struct prepared *p)
{
    for (int64_t c = 0; p->rankings != NULL && c < p->classes; c++)
        cr_free(p->rankings[c].entries);
    cr_free(p->rankings);
    cr_free(p->predicted);
    cr_free(p->in_top);
    cr_free(p->loss);
    cr_free(p->brier);
    cr_free(p->confidence);
    cr_free(p->bin);
}

static bool scratch_make(struct scratch *s, int64_t count, int64_t classes)
{
    s->weights = cr_alloc_array((size_t)count, sizeof *s->weights);
    s->truth = cr_alloc_array((size_t)classes, 3 * sizeof *s->truth);
    if (s->truth != NULL) {
        s->predicted = s->truth + classes;
        s->right = s->predicted + classes;
    }
    return s->weights != NULL && s->truth != NULL;
}

static void scratch_free(struct scratch *s)
{
    cr_free(s->weights);
    cr_free(s->truth);
}

/* ---- all replicates ---- */

/* Values are kept by score, then by replicate, so that a score's values lie together. */
struct replicates {
    const struct prepared *prepared;
    struct scratch scratch[PARTS];
    cr_bootstrap_args bootstrap;
    int64_t chunk;
    bool areas, classes;
    double *metric;     /* (CR_METRIC_COUNT, replicates) */
    double *per_class;  /* (classes * CLASS_SCORES, replicates), if wanted */
    double *row[PARTS]; /* (classes * CLASS_SCORES) */
};

static void run_part(int64_t begin, int64_t end, void *context)
{
    struct replicates *all = context;
    const struct prepared *p = all->prepared;
    int64_t part = begin / all->chunk;
    int64_t count = all->bootstrap.replicates;
    double *row = all->row[part];
    struct scratch *s = &all->scratch[part];
    for (int64_t r = begin; r < end; r++) {
        double metric[CR_METRIC_COUNT];
        draw_weights(all->bootstrap.seed, r, p->count, s->weights);
        score_replicate(p, s, all->areas, metric, row);
        for (int m = 0; m < CR_METRIC_COUNT; m++)
            all->metric[m * count + r] = metric[m];
        for (int64_t k = 0; all->classes && k < p->classes * CLASS_SCORES; k++)
            all->per_class[k * count + r] = row[k];
    }
}

static cr_estimate *class_estimate(cr_class_estimates *scores, int64_t k)
{
    cr_estimate *of[CLASS_SCORES] = { &scores->precision, &scores->recall, &scores->f1,
                                      &scores->roc_auc, &scores->average_precision };
    return of[k];
}

static void take_intervals(struct replicates *all, cr_classifier_scores *scores)
{
    int64_t count = all->bootstrap.replicates;
    double level = all->bootstrap.level;
    for (int m = 0; m < CR_METRIC_COUNT; m++)
        metrics_interval(all->metric + m * count, count, level, &scores->metric[m]);
    for (int64_t k = 0; all->classes && k < scores->classes * CLASS_SCORES; k++)
        metrics_interval(all->per_class + k * count, count, level,
                         class_estimate(&scores->per_class[k / CLASS_SCORES], k % CLASS_SCORES));
}

static cr_status find_intervals(const struct prepared *p, cr_bootstrap_args bootstrap,
                                cr_classifier_scores *scores)
{
    size_t count = (size_t)bootstrap.replicates;
    size_t cells = (size_t)p->classes * CLASS_SCORES;
    struct replicates *all = cr_alloc_zeroed(1, sizeof *all);
    if (all == NULL)
        return cr_error_status();
    all->prepared = p;
    all->bootstrap = bootstrap;
    all->chunk = CR_DIV_UP(bootstrap.replicates, PARTS);
    all->areas = p->count * p->classes <= CR_MAX_AREA_INTERVALS;
    all->classes = p->classes <= CR_MAX_CLASS_INTERVALS;
    all->metric = cr_alloc_array(count, CR_METRIC_COUNT * sizeof(double));
    if (all->classes)
        all->per_class = cr_alloc_array(count, cells * sizeof(double));
    for (int part = 0; part < PARTS && !cr_failed(); part++) {
        scratch_make(&all->scratch[part], p->count, p->classes);
        all->row[part] = cr_alloc_array(cells, sizeof(double));
    }
    if (!cr_failed()) {
        cr_parallel_for(bootstrap.replicates, all->chunk, run_part, all);
        take_intervals(all, scores);
    }
    for (int part = 0; part < PARTS; part++) {
        scratch_free(&all->scratch[part]);
        cr_free(all->row[part]);
    }
    cr_free(all->metric);
    cr_free(all->per_class);
    cr_free(all);
    return cr_error_status();
}

/* The values themselves: every sample counts once. */
static cr_status find_values(const struct prepared *p, cr_classifier_scores *scores)
{
    struct scratch s = { 0 };
    double metric[CR_METRIC_COUNT];
    double *row = cr_alloc_array((size_t)p->classes, CLASS_SCORES * sizeof *row);
    if (row != NULL && scratch_make(&s, p->count, p->classes)) {
        for (int64_t i = 0; i < p->count; i++)
            s.weights[i] = 1;
        score_replicate(p, &s, true, metric, row);
        for (int m = 0; m < CR_METRIC_COUNT; m++)
            scores->metric[m] = (cr_estimate){ metric[m], NAN, NAN };
        for (int64_t c = 0; c < p->classes; c++) {
            cr_class_estimates *own = &scores->per_class[c];
            for (int64_t k = 0; k < CLASS_SCORES; k++)
                *class_estimate(own, k) = (cr_estimate){ row[c * CLASS_SCORES + k], NAN, NAN };
            own->support = s.truth[c];
            own->predicted = s.predicted[c];
        }
        for (int64_t b = 0; p->has_confidence && b < p->bins; b++) {
            double samples = s.bin_count[b] > 0 ? (double)s.bin_count[b] : NAN;
            scores->bins[b] = (cr_calibration_bin){ s.bin_count[b], s.bin_score[b] / samples,
                                                    (double)s.bin_right[b] / samples };
        }
    }
    scratch_free(&s);
    cr_free(row);
    return cr_error_status();
}

static cr_status check_args(cr_score_args *args)
{
    if (args->classes < 1 || args->classes > CR_MAX_CLASSES || args->count < 1 ||
        args->count > CR_MAX_RANKED)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "scores: %lld samples of %lld classes; there must be 1 to %d samples "
                            "and 1 to %d classes",
                            (long long)args->count, (long long)args->classes, CR_MAX_RANKED,
                            CR_MAX_CLASSES);
    if (args->truth == NULL || args->probabilities == NULL)
        return cr_error_set(CR_ERROR_ARGUMENT, "scores: no labels or no probabilities were given");
    if (args->top_k < 0 || args->bins < 0 || args->bins > CR_MAX_CALIBRATION_BINS)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "scores: top %lld and %lld bins, but k must be positive and there must "
                            "be 1 to %d bins",
                            (long long)args->top_k, (long long)args->bins, CR_MAX_CALIBRATION_BINS);
    if (metrics_check_labels("true", args->truth, args->count, args->classes) != CR_OK)
        return cr_error_status();
    if (args->predicted != NULL)
        metrics_check_labels("predicted", args->predicted, args->count, args->classes);
    return cr_failed() ? cr_error_status() : metrics_check_bootstrap(&args->bootstrap);
}

cr_status cr_score_classifier(cr_score_args args, cr_classifier_scores *scores)
{
    struct prepared p = { 0 };
    *scores = (cr_classifier_scores){ 0 };
    if (cr_failed() || check_args(&args) != CR_OK)
        return cr_error_status();
    if (prepare(&p, &args) == CR_OK) {
        *scores = (cr_classifier_scores){ .count = p.count,
                                          .classes = p.classes,
                                          .top_k = p.top_k,
                                          .level = args.bootstrap.level,
                                          .bin_count = p.bins };
        scores->per_class = cr_alloc_zeroed((size_t)p.classes, sizeof *scores->per_class);
        scores->bins = cr_alloc_zeroed((size_t)p.bins, sizeof *scores->bins);
        if (!cr_failed() && find_values(&p, scores) == CR_OK && !args.no_intervals)
            find_intervals(&p, args.bootstrap, scores);
    }
    prepared_free(&p);
    if (cr_failed())
        cr_classifier_scores_free(scores);
    return cr_error_status();
}

void cr_classifier_scores_free(cr_classifier_scores *scores)
{
    cr_free(scores->per_class);
    cr_free(scores->bins);
    *scores = (cr_classifier_scores){ 0 };
}
