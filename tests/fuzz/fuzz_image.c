/* Fuzzes the decoders of pictures: whatever the bytes, they are refused with a sentence or give a
 * picture of the size that the probe tells, and nothing leaks. Pictures that are large are probed
 * only. The seeds are small files of every format that Pillow wrote. */
#include <stdbool.h>
#include <string.h>

#include "cresset/image_file.h"
#include "cresset/memory.h"
#include "fuzz.h"

#define LARGE        65536 /* pixels */
#define LONGEST_SEED 4096

const char *const fuzz_words[] = { "\xff\xd8", "\xff\xda",
                                   "\xff\xc2", "\xff\xff\xff\xff",
                                   "IHDR",     "PLTE",
                                   "IDAT",     "tRNS",
                                   "VP8L",     "VP8X",
                                   "ALPH",     "ANMF",
                                   "II*",      "\x7f\xff\xff\xff",
                                   "65536",    "99999",
                                   "P3 2 2 ",  "BM",
                                   NULL };

static bool accepted;

static void check(bool holds)
{
    if (!holds)
        __builtin_trap();
}

/* The decoder's result, and what the pixels add up to, so that all of them are read. */
static bool decode(const uint8_t *data, size_t size, int channels, const cr_image_info *info)
{
    cr_image image = { 0 };
    bool good = cr_image_decode(data, size, "fuzz", channels, &image) == CR_OK;
    check(good != cr_failed());
    check(good || cr_error_message()[0] != '\0');
    unsigned sum = 0;
    if (good) {
        check(image.width == info->width && image.height == info->height);
        check(image.channels == (channels ? channels : info->channels));
        size_t count = (size_t)(image.width * image.height * image.channels);
        for (size_t i = 0; i < count; i++)
            sum += image.pixels[i];
    }
    check(sum <= 255U * 4 * LARGE);
    cr_image_free(&image);
    cr_error_clear();
    return good;
}

static void choose_middle(void *context, int64_t height, int64_t width, cr_image_box *box)
{
    (void)context;
    *box = (cr_image_box){ height / 3, width / 3, (height + 2) / 3, (width + 2) / 3 };
}

/* A part alone: its box lies in the picture, and has what was asked for. */
static void decode_part(const uint8_t *data, size_t size, const cr_image_info *info)
{
    cr_image image = { 0 };
    cr_image_part part;
    cr_image_wish wish = { choose_middle, NULL };
    bool good = cr_image_decode_part(data, size, "fuzz", 3, &wish, &image, &part) == CR_OK;
    check(good != cr_failed());
    if (good) {
        const cr_image_box *box = &part.box;
        check(part.width == info->width && part.height == info->height);
        check(box->height == image.height && box->width == image.width && image.channels == 3);
        check(box->top >= 0 && box->top <= info->height / 3);
        check(box->left >= 0 && box->left <= info->width / 3);
        check(box->top + box->height >= info->height / 3 + (info->height + 2) / 3);
        check(box->left + box->width >= info->width / 3 + (info->width + 2) / 3);
        check(box->top + box->height <= info->height && box->left + box->width <= info->width);
        unsigned sum = 0;
        for (int64_t i = 0; i < image.width * image.height * 3; i++)
            sum += image.pixels[i];
        check(sum <= 255U * 3 * LARGE);
    }
    cr_image_free(&image);
    cr_error_clear();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t live = cr_memory_get_stats().small;
    cr_image_info info;
    accepted = cr_image_probe_memory(data, size, "fuzz", &info) == CR_OK;
    check(accepted != cr_failed());
    check(accepted || cr_error_message()[0] != '\0');
    cr_error_clear();
    if (accepted && info.width * info.height <= LARGE) {
        accepted = decode(data, size, 0, &info);
        check(decode(data, size, 3, &info) == accepted);
        decode_part(data, size, &info);
    }
    check(cr_memory_get_stats().small == live);
    return 0;
}

int fuzz_accepted(void)
{
    return accepted;
}

static const struct seed {
    size_t size;
    uint8_t bytes[LONGEST_SEED];
} seeds[] = {
#include "seed_images.inc"
};

size_t fuzz_seed(int index, uint8_t *out, size_t room)
{
    if (index >= (int)(sizeof seeds / sizeof *seeds) || seeds[index].size > room)
        return 0;
    memcpy(out, seeds[index].bytes, seeds[index].size);
    return seeds[index].size;
}
