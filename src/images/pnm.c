/* PNM: PBM, PGM and PPM, as text (P1 to P3) and as bytes (P4 to P6), of any depth to 16 bits, which
 * is scaled to 8. */
#include <math.h>
#include <string.h>

#include "images/images.h"

#define MOST_DIGITS 10
#define LARGEST     65535

struct pnm {
    const struct image_source *source;
    size_t at;
    int kind; /* 1 to 6 */
    int64_t width;
    int64_t height;
    int maximum;
};

static cr_status damaged(const struct pnm *pnm, const char *what)
{
    return images_damaged(pnm->source, "PNM", what);
}

static bool is_space(int c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Goes past white space and comments. */
static void skip_space(struct pnm *pnm)
{
    const uint8_t *data = pnm->source->data;
    size_t size = pnm->source->size;
    while (pnm->at < size && (is_space(data[pnm->at]) || data[pnm->at] == '#')) {
        bool is_comment = data[pnm->at] == '#';
        while (is_comment && pnm->at < size && data[pnm->at] != '\n' && data[pnm->at] != '\r')
            pnm->at++;
        if (pnm->at < size)
            pnm->at++;
    }
}

static cr_status read_number(struct pnm *pnm, int64_t *value)
{
    skip_space(pnm);
    const uint8_t *data = pnm->source->data;
    size_t start = pnm->at;
    *value = 0;
    for (; pnm->at < pnm->source->size && data[pnm->at] >= '0' && data[pnm->at] <= '9'; pnm->at++) {
        if (pnm->at - start == MOST_DIGITS)
            return damaged(pnm, "a number has too many digits");
        *value = 10 * *value + data[pnm->at] - '0';
    }
    if (pnm->at == start)
        return pnm->at == pnm->source->size ? images_truncated(pnm->source, "PNM")
                                            : damaged(pnm, "a number is missing");
    return CR_OK;
}

static cr_status read_header(struct pnm *pnm)
{
    int64_t maximum = 1;
    pnm->kind = pnm->source->data[1] - '0';
    pnm->at = 2;
    if (read_number(pnm, &pnm->width) != CR_OK || read_number(pnm, &pnm->height) != CR_OK)
        return cr_error_status();
    if (pnm->kind % 3 != 1 && read_number(pnm, &maximum) != CR_OK)
        return cr_error_status();
    if (maximum < 1 || maximum > LARGEST)
        return damaged(pnm, "its largest value is not in the range of 1 to 65535");
    pnm->maximum = (int)maximum;
    if (pnm->at < pnm->source->size && !is_space(pnm->source->data[pnm->at]) && pnm->kind > 3)
        return damaged(pnm, "its header does not end in white space");
    pnm->at += pnm->kind > 3;
    return CR_OK;
}

/* Halves go to the even number, as in Python. */
static uint8_t scale(const struct pnm *pnm, int64_t value)
{
    if (pnm->maximum == 255)
        return (uint8_t)IMAGES_MIN(value, 255);
    return (uint8_t)fmin(255, nearbyint((double)value / pnm->maximum * 255));
}

static cr_status read_text(struct pnm *pnm, cr_image *image)
{
    int64_t count = pnm->width * pnm->height * image->channels;
    for (int64_t i = 0; i < count; i++) {
        int64_t value;
        if (read_number(pnm, &value) != CR_OK)
            return cr_error_status();
        if (value > pnm->maximum)
            return damaged(pnm, "a value is larger than its header allows");
        image->pixels[i] = scale(pnm, value);
    }
    return CR_OK;
}

/* Bits as text need no space between them; 1 is black. */
static cr_status read_text_bits(struct pnm *pnm, cr_image *image)
{
    int64_t count = pnm->width * pnm->height;
    for (int64_t i = 0; i < count; i++) {
        skip_space(pnm);
        if (pnm->at == pnm->source->size)
            return images_truncated(pnm->source, "PNM");
        int c = pnm->source->data[pnm->at++];
        if (c != '0' && c != '1')
            return damaged(pnm, "a bit is neither 0 nor 1");
        image->pixels[i] = c == '0' ? 255 : 0;
    }
    return CR_OK;
}

static cr_status read_bits(const struct pnm *pnm, const uint8_t *from, cr_image *image)
{
    size_t stride = ((size_t)pnm->width + 7) / 8;
    for (int64_t y = 0; y < pnm->height; y++, from += stride) {
        for (int64_t x = 0; x < pnm->width; x++)
            image->pixels[y * pnm->width + x] = from[x / 8] >> (7 - x % 8) & 1 ? 0 : 255;
    }
    return CR_OK;
}

static cr_status read_bytes(const struct pnm *pnm, cr_image *image)
{
    size_t count = (size_t)pnm->width * (size_t)pnm->height * (size_t)image->channels;
    size_t needed = count * (pnm->maximum > 255 ? 2 : 1);
    if (pnm->kind == 4)
        needed = ((size_t)pnm->width + 7) / 8 * (size_t)pnm->height;
    if (pnm->at > pnm->source->size || pnm->source->size - pnm->at < needed)
        return images_truncated(pnm->source, "PNM");
    const uint8_t *from = pnm->source->data + pnm->at;
    if (pnm->kind == 4)
        return read_bits(pnm, from, image);
    if (pnm->maximum == 255) {
        memcpy(image->pixels, from, count);
        return CR_OK;
    }
    for (size_t i = 0; i < count; i++) {
        int64_t value = from[i];
        if (pnm->maximum > 255)
            value = (int64_t)from[2 * i] << 8 | from[2 * i + 1];
        image->pixels[i] = scale(pnm, value);
    }
    return CR_OK;
}

cr_status images_decode_pnm(const struct image_source *source, struct image_result *result)
{
    struct pnm pnm = { .source = source };
    if (read_header(&pnm) != CR_OK ||
        images_take_size(source, result, pnm.width, pnm.height, pnm.kind % 3 ? 1 : 3) != CR_OK)
        return cr_error_status();
    if (!result->image)
        return CR_OK;
    if (pnm.kind > 3)
        return read_bytes(&pnm, result->image);
    return pnm.kind == 1 ? read_text_bits(&pnm, result->image) : read_text(&pnm, result->image);
}
