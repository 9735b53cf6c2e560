/* `cresset data make oct`: cross sections of retinas as optical coherence tomography shows them, to
 * try the whole way on without anybody's scans. Layers of different brightness run through the
 * picture along smooth curves, with a pit in the middle; drusen lift the lowest bright layer in
 * bumps, oedema swells the layers around dark cysts, a membrane grows through them with fluid over
 * it. Shadows of vessels, light that fades with depth and speckle are laid over all. What is drawn
 * depends on the seed, the class and the number of the picture alone. */
#include <math.h>
#include <string.h>

#include "cli.h"
#include "cresset/file.h"
#include "cresset/image_file.h"
#include "cresset/memory.h"
#include "cresset/random.h"

#define CLASSES      4
#define BOUNDARIES   9 /* of layers, from the vitreous body down */
#define MOST_LESIONS 12
#define QUALITY      92
#define LOOKS        2 /* that a scanner averages */
#define PATIENT_SIZE 3 /* pictures of one patient */

enum { CNV, DME, DRUSEN, NORMAL };

static const char *const class_names[CLASSES] = { "CNV", "DME", "DRUSEN", "NORMAL" };

/* Where the layers end, as fractions of the retina's thickness, and how bright they are; the last
 * is the choroid below it. */
static const double layer_ends[BOUNDARIES] = { 0, 0.10, 0.24, 0.36, 0.48, 0.56, 0.80, 0.88, 1 };
static const double layer_light[BOUNDARIES + 1] = { 0.012, 0.40, 0.25, 0.29, 0.17,
                                                    0.25,  0.11, 0.36, 0.68, 0.24 };

typedef struct lesion {
    double x, y; /* its middle, in pixels */
    double width, height;
    double light; /* of what fills it */
} lesion;

typedef struct scan {
    int64_t width, height;
    int class;
    cr_generator *generator;
    double *tops[BOUNDARIES]; /* for each column */
    double *shadow;           /* for each column, 1 for none */
    lesion lesions[MOST_LESIONS];
    int lesion_count;
    double exposure, noise, phase;
} scan;

static double draw(scan *s, double low, double high)
{
    return low + (high - low) * cr_random_uniform(s->generator);
}

static double bell(double distance)
{
    return exp(-0.5 * distance * distance);
}

/* ---- the course of the layers ---- */

/* How far the lowest layer is lifted at a column, and how much thicker the retina is there. */
typedef struct relief {
    double lift, swell;
} relief;

static void lay_out(scan *s)
{
    double width = (double)s->width, height = (double)s->height;
    double thickness = height * draw(s, 0.20, 0.28);
    double base = height * draw(s, 0.52, 0.68), tilt = height * draw(s, -0.10, 0.10);
    double sag = height * draw(s, -0.10, 0.04), pit = draw(s, 0.42, 0.58);
    double pit_depth = s->class == DME ? draw(s, 0, 0.15) : draw(s, 0.35, 0.55);
    double pit_width = draw(s, 0.07, 0.11);
    double phases[3], sizes[3];
    for (int i = 0; i < 3; i++) {
        phases[i] = draw(s, 0, 6.283);
        sizes[i] = height * draw(s, 0, 0.006);
    }
    int bumps = s->class == DRUSEN ? 3 + (int)cr_random_below(s->generator, 6) : 0;
    relief hills[MOST_LESIONS];
    double at[MOST_LESIONS], spread[MOST_LESIONS];
    for (int i = 0; i < bumps; i++) {
        at[i] = draw(s, 0.08, 0.92);
        spread[i] = draw(s, 0.010, 0.030);
        hills[i] = (relief){ height * draw(s, 0.018, 0.050), 0 };
    }
    if (s->class == CNV) {
        at[0] = draw(s, 0.35, 0.65);
        spread[0] = draw(s, 0.07, 0.14);
        hills[0] = (relief){ height * draw(s, 0.03, 0.09), 0.25 };
        bumps = 1;
    }
    if (s->class == DME) {
        at[0] = draw(s, 0.38, 0.62);
        spread[0] = draw(s, 0.12, 0.22);
        hills[0] = (relief){ 0, draw(s, 0.35, 0.75) };
        bumps = 1;
    }
    for (int64_t x = 0; x < s->width; x++) {
        double u = (double)x / width, lift = 0, swell = 1;
        double bottom = base + tilt * (u - 0.5) + sag * 4 * (u - 0.5) * (u - 0.5);
        for (int i = 0; i < 3; i++)
            bottom += sizes[i] * sin(phases[i] + 6.283 * (i + 1.5) * u);
        for (int i = 0; i < bumps; i++) {
            lift += hills[i].lift * bell((u - at[i]) / spread[i]);
            swell += hills[i].swell * bell((u - at[i]) / spread[i]);
        }
        double dip = 1 - pit_depth * bell((u - pit) / pit_width);
        double own = thickness * swell * dip;
        for (int b = 0; b < BOUNDARIES; b++) {
            /* The pit thins the inner layers, and what is lifted presses on the outer ones. */
            double part = layer_ends[b];
            double lifted = lift * pow(part, 2.5);
            s->tops[b][x] = bottom - own * (1 - part) - lifted;
        }
    }
}

/* ---- what is ill ---- */

static void add_lesion(scan *s, double x, double part, double width, double height, double light)
{
    int64_t column = (int64_t)(x * (double)(s->width - 1));
    double top = s->tops[0][column], bottom = s->tops[BOUNDARIES - 1][column];
    if (s->lesion_count < MOST_LESIONS)
        s->lesions[s->lesion_count++] =
            (lesion){ x * (double)s->width, top + part * (bottom - top), width * (double)s->width,
                      height * (double)s->height, light };
}

static void add_illness(scan *s)
{
    int count = 3 + (int)cr_random_below(s->generator, 6);
    double middle = draw(s, 0.40, 0.60);
    if (s->class == DME) {
        for (int i = 0; i < count; i++)
            add_lesion(s, middle + draw(s, -0.16, 0.16), draw(s, 0.35, 0.75), draw(s, 0.012, 0.040),
                       draw(s, 0.015, 0.050), 0.05);
        if (draw(s, 0, 1) < 0.4)
            add_lesion(s, middle, 0.90, draw(s, 0.06, 0.12), draw(s, 0.015, 0.03), 0.04);
        for (int i = 0; i < 3; i++) /* hard exudates */
            add_lesion(s, middle + draw(s, -0.2, 0.2), draw(s, 0.4, 0.7), 0.004, 0.006, 1);
    }
    if (s->class == CNV) {
        add_lesion(s, middle, 0.93, draw(s, 0.05, 0.10), draw(s, 0.025, 0.05), 0.78);
        add_lesion(s, middle + draw(s, -0.08, 0.08), 0.86, draw(s, 0.07, 0.13),
                   draw(s, 0.012, 0.030), 0.04);
        for (int i = 0; i < count / 2; i++)
            add_lesion(s, middle + draw(s, -0.12, 0.12), draw(s, 0.45, 0.75), draw(s, 0.008, 0.02),
                       draw(s, 0.01, 0.025), 0.06);
    }
}

static void add_shadows(scan *s)
{
    int count = 2 + (int)cr_random_below(s->generator, 5);
    for (int64_t x = 0; x < s->width; x++)
        s->shadow[x] = 1;
    for (int i = 0; i < count; i++) {
        double at = draw(s, 0, (double)s->width), spread = (double)s->width * draw(s, 0.004, 0.012);
        double depth = draw(s, 0.2, 0.55);
        for (int64_t x = 0; x < s->width; x++)
            s->shadow[x] *= 1 - depth * bell(((double)x - at) / spread);
    }
}

/* ---- light ---- */

/* How bright the layer at a depth is; the limits of layers are not sharp. */
static double layer_at(const scan *s, int64_t x, double depth)
{
    double soft = 0.0022 * (double)s->height;
    double light = layer_light[0];
    for (int b = 0; b < BOUNDARIES; b++) {
        double step = (depth - s->tops[b][x]) / soft;
        if (step < -8)
            continue;
        double part = step > 8 ? 1 : 1 / (1 + exp(-step));
        light += (layer_light[b + 1] - light) * part;
    }
    return light;
}

/* The choroid: vessels, as dark blotches, and light that fades with depth. */
static double choroid_at(const scan *s, int64_t x, double below)
{
    double u = (double)x / (double)s->width * 60, v = below / (double)s->height * 70;
    double blotches = sin(u + 1.7 * sin(0.7 * v + s->phase)) * sin(0.8 * v + sin(0.6 * u)) +
                      0.5 * sin(2.1 * u - s->phase) * sin(1.7 * v + 0.9 * sin(1.3 * u));
    return exp(-below / (0.11 * (double)s->height)) * (0.85 + 0.22 * blotches);
}

/* Without speckle: what is at a place, from 0 to 1. */
static double light_at(const scan *s, int64_t x, int64_t y)
{
    double depth = (double)y, light = layer_at(s, x, depth);
    double below = depth - s->tops[BOUNDARIES - 1][x];
    double above_zone = (s->tops[6][x] - depth) / (double)s->height;
    if (below > 0)
        light = fmax(light * choroid_at(s, x, below), layer_light[0]);
    if (above_zone > 0.012 && above_zone < 0.018) /* a thin line above the ellipsoid zone */
        light += 0.07;
    for (int i = 0; i < s->lesion_count; i++) {
        const lesion *own = &s->lesions[i];
        double dx = ((double)x - own->x) / own->width, dy = (depth - own->y) / own->height;
        double square = dx * dx + dy * dy;
        if (square < 2)
            light += (own->light - light) / (1 + exp(14 * (square - 1)));
    }
    return depth > s->tops[1][x] ? light * s->shadow[x] : light;
}

/* Speckle is exponential in intensity; scanners average a few looks and show the logarithm. */
static double speckle(scan *s)
{
    double sum = 0;
    for (int i = 0; i < LOOKS; i++)
        sum -= log(1 - cr_random_uniform(s->generator));
    return sum / LOOKS;
}

static void paint(scan *s, cr_image *image, double *row)
{
    for (int64_t y = 0; y < s->height; y++) {
        double held = speckle(s);
        for (int64_t x = 0; x < s->width; x++) {
            held = 0.45 * held + 0.55 * speckle(s); /* it is coarser along the scan */
            double power =
                pow(light_at(s, x, y), 1.6) * (1 - s->noise + s->noise * held) + 0.004 * speckle(s);
            row[x] = s->exposure * log1p(60 * power) / log1p(60.0);
        }
        for (int64_t x = 0; x < s->width; x++)
            image->pixels[y * s->width + x] = (uint8_t)fmin(255, fmax(0, 255 * row[x]));
    }
}

static bool make_scan(scan *s, cr_image *image)
{
    size_t width = (size_t)s->width;
    double *room = cr_alloc_array(width * (BOUNDARIES + 2), sizeof *room);
    if (!room || cr_image_resize_room(image, s->height, s->width, 1) != CR_OK) {
        cr_free(room);
        return false;
    }
    for (int b = 0; b < BOUNDARIES; b++)
        s->tops[b] = room + (size_t)b * width;
    s->shadow = room + BOUNDARIES * width;
    s->exposure = draw(s, 0.80, 1.05);
    s->noise = draw(s, 0.85, 1.0);
    s->phase = draw(s, 0, 6.283);
    lay_out(s);
    add_illness(s);
    add_shadows(s);
    paint(s, image, room + (BOUNDARIES + 1) * width);
    cr_free(room);
    return true;
}

/* ---- the set ---- */

static const char *const part_names[DATA_PARTS] = { "train", "val", "test" };

static bool make_picture(const data_settings *settings, int part, int class, int64_t number)
{
    cr_image image = { 0 };
    int64_t stream = ((int64_t)part * CLASSES + class) * 10000000 + number;
    cr_generator generator = cr_generator_make((uint64_t)settings->seed, (uint64_t)stream);
    scan s = { .width = settings->width,
               .height = settings->height,
               .class = class,
               .generator = &generator };
    int64_t patient = 100000 + part * 1000000 + class * 200000 + number / PATIENT_SIZE;
    char *path = cr_string_format("%s/%s/%s/%s-%lld-%lld.jpeg", settings->out, part_names[part],
                                  class_names[class], class_names[class], (long long)patient,
                                  (long long)(number % PATIENT_SIZE + 1));
    bool good =
        path && make_scan(&s, &image) && cr_image_write_jpeg(path, &image, QUALITY) == CR_OK;
    cr_image_free(&image);
    cr_free(path);
    return good;
}

static bool make_set(const data_settings *settings, progress *bar)
{
    int64_t done = 0;
    for (int part = 0; part < DATA_PARTS; part++) {
        int64_t count = part == 0 ? settings->count : (settings->count + 3) / 4;
        for (int class = 0; class < CLASSES; class ++) {
            char *folder =
                cr_string_format("%s/%s/%s", settings->out, part_names[part], class_names[class]);
            bool good = folder && cr_folder_make(folder) == CR_OK;
            cr_free(folder);
            for (int64_t i = 0; i < count && good && !interrupted(); i++) {
                good = make_picture(settings, part, class, i);
                progress_update(bar, ++done, "");
            }
            if (!good)
                return false;
        }
    }
    return true;
}

int run_data_make(const arguments *args)
{
    const data_settings *settings = args->settings;
    if (strcmp(args->operands[1], "oct") != 0)
        return usage_error(args->command, "make knows oct only, not \"%s\"", args->operands[1]);
    if (!settings->out)
        return usage_error(args->command, "make needs --out DIR, where to write");
    if (cr_file_exists(settings->out))
        return failure(args->command, "%s is there already; give another folder with --out",
                       settings->out);
    progress bar = { 0 };
    int64_t count = CLASSES * (settings->count + 2 * ((settings->count + 3) / 4));
    interrupt_watch();
    progress_begin(&bar, "drawing", count, "pictures");
    bool good = make_set(settings, &bar);
    progress_clear(&bar);
    if (!good)
        return library_failure(args->command);
    if (interrupted())
        return STATUS_INTERRUPTED;
    if (settings->json)
        return print_json(args->command, json_pack("{s:s, s:I}", "folder", settings->out,
                                                   "pictures", (json_int_t)count));
    printf("%lld pictures in %s: %s, %s, %s and %s, to train, to validate and to test\n",
           (long long)count, settings->out, class_names[0], class_names[1], class_names[2],
           class_names[3]);
    return STATUS_DONE;
}
