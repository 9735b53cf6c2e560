/* Parts of pictures: a part of a JPEG file has the pixels of the whole, whatever its sampling of
 * colours, and what transforms make of a part is what they make, one by one, of the whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jpeglib.h>

#include "cresset/creation.h"
#include "cresset/image_file.h"
#include "data/data.h"

enum { GREY, COLOUR_1X1, COLOUR_2X1, COLOUR_1X2, COLOUR_2X2, COLOUR_4X1, KINDS };

static const int samplings[KINDS][2] = {
    { 1, 1 }, { 1, 1 }, { 2, 1 }, { 1, 2 }, { 2, 2 }, { 4, 1 }
};

static int clear_state(void **state)
{
    (void)state;
    cr_error_clear();
    cr_frame_end_all();
    return 0;
}

/* Waves and noise, so that neighbouring pixels differ. */
static uint8_t value_at(cr_generator *generator, int64_t y, int64_t x, int c)
{
    return (uint8_t)((y * (3 + c) + x * (5 - c)) % 200 + (int64_t)cr_random_below(generator, 50));
}

struct file {
    unsigned char *bytes;
    unsigned long size;
};

static struct file make_jpeg(int kind, bool is_progressive, int height, int width)
{
    struct file file = { 0 };
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    cr_generator generator = cr_generator_make(7, (uint64_t)kind);
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, &file.bytes, &file.size);
    info.image_height = (JDIMENSION)height;
    info.image_width = (JDIMENSION)width;
    info.input_components = kind == GREY ? 1 : 3;
    info.in_color_space = kind == GREY ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, 60, TRUE);
    info.comp_info[0].h_samp_factor = samplings[kind][0];
    info.comp_info[0].v_samp_factor = samplings[kind][1];
    if (is_progressive)
        jpeg_simple_progression(&info);
    jpeg_start_compress(&info, TRUE);
    uint8_t row[3 * 256];
    while (info.next_scanline < info.image_height) {
        for (int i = 0; i < width * info.input_components; i++)
            row[i] = value_at(&generator, info.next_scanline, i / 3, i % 3);
        JSAMPROW rows = row;
        jpeg_write_scanlines(&info, &rows, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    return file;
}

static void give_box(void *context, int64_t height, int64_t width, cr_image_box *box)
{
    *box = *(cr_image_box *)context;
    assert_true(box->top + box->height <= height && box->left + box->width <= width);
}

static void check_part(struct file file, const cr_image *whole, cr_image_box box, bool narrows)
{
    cr_image image = { 0 };
    cr_image_part part;
    cr_image_wish wish = { give_box, &box };
    assert_int_equal(cr_image_decode_part(file.bytes, file.size, "it", 3, &wish, &image, &part),
                     CR_OK);
    assert_int_equal(part.height, whole->height);
    assert_int_equal(part.width, whole->width);
    assert_int_equal(part.box.height, image.height);
    assert_int_equal(part.box.width, image.width);
    if (narrows)
        assert_true(image.height < whole->height && image.width < whole->width);
    int64_t top = box.top - part.box.top;
    int64_t left = box.left - part.box.left;
    assert_true(top >= 0 && left >= 0 && top + box.height <= image.height &&
                left + box.width <= image.width);
    for (int64_t y = 0; y < box.height; y++)
        assert_memory_equal(image.pixels + ((top + y) * image.width + left) * 3,
                            whole->pixels + ((box.top + y) * whole->width + box.left) * 3,
                            (size_t)box.width * 3);
    cr_image_free(&image);
}

static void test_jpeg_parts(void **state)
{
    (void)state;
    cr_generator generator = cr_generator_make(1, 0);
    for (int kind = 0; kind < 2 * KINDS; kind++) {
        struct file file = make_jpeg(kind / 2, kind % 2, 131, 149);
        cr_image whole = { 0 };
        assert_int_equal(cr_image_decode(file.bytes, file.size, "it", 3, &whole), CR_OK);
        check_part(file, &whole, (cr_image_box){ 50, 60, 20, 20 }, kind / 2 != COLOUR_4X1);
        for (int i = 0; i < 100; i++) {
            cr_image_box box = { .top = (int64_t)cr_random_below(&generator, 131),
                                 .left = (int64_t)cr_random_below(&generator, 149) };
            box.height = 1 + (int64_t)cr_random_below(&generator, (uint64_t)(131 - box.top));
            box.width = 1 + (int64_t)cr_random_below(&generator, (uint64_t)(149 - box.left));
            check_part(file, &whole, box, false);
        }
        cr_image_free(&whole);
        free(file.bytes);
    }
}

static void test_jpeg_part_of_truncated(void **state)
{
    (void)state;
    struct file file = make_jpeg(COLOUR_2X2, false, 131, 149);
    cr_image image = { 0 };
    cr_image_part part;
    cr_image_box box = { 0, 0, 10, 10 };
    cr_image_wish wish = { give_box, &box };
    for (unsigned long size = file.size - 2; size > file.size / 2; size -= 97) {
        assert_int_not_equal(cr_image_decode_part(file.bytes, size, "it", 3, &wish, &image, &part),
                             CR_OK);
        assert_non_null(strstr(cr_error_message(), "it is truncated"));
        cr_error_clear();
    }
    cr_image_free(&image);
    free(file.bytes);
}

/* ---- transforms ---- */

/* One picture, again and again. */
struct one_picture {
    struct file file;
};

static cr_status get_part(void *context, int64_t index, const cr_image_wish *wish, cr_image *image,
                          cr_image_part *part, int64_t *label)
{
    const struct one_picture *one = context;
    (void)index;
    *label = CR_NO_LABEL;
    return cr_image_decode_part(one->file.bytes, one->file.size, "it", 3, wish, image, part);
}

static cr_status get_whole(void *context, int64_t index, cr_image *image, int64_t *label)
{
    cr_image_part part;
    return get_part(context, index, NULL, image, &part, label);
}

/* What the loader makes of sample `index`, and what the transforms of a list make of it one by
 * one. */
static void compare(const char *words, const struct one_picture *one)
{
    cr_transform_list list = { 0 };
    assert_int_equal(cr_transform_parse(words, &list), CR_OK);
    cr_dataset *set = cr_dataset_new(&(cr_dataset_source){ .size = 8,
                                                           .sample_shape = CR_SHAPE(3, -1, -1),
                                                           .dtype = CR_U8,
                                                           .picture = get_whole,
                                                           .picture_part = get_part,
                                                           .context = (void *)one });
    cr_loader *loader = cr_loader_new(set, .batch_size = 8, .seed = 5, .transforms = &list);
    assert_int_equal(cr_loader_start(loader, 3, 0), CR_OK);
    cr_batch batch;
    if (!cr_loader_next(loader, &batch))
        fail_msg("%s", cr_error_message());
    const float *samples = cr_data(batch.samples);
    cr_image image = { 0 };
    cr_image spare = { 0 };
    for (int64_t index = 0; index < 8; index++) {
        cr_generator generator = data_generator(5, DATA_TRANSFORM, 3, (uint64_t)index);
        int64_t label;
        assert_int_equal(get_whole((void *)one, index, &image, &label), CR_OK);
        for (int i = 0; i < list.count; i++)
            assert_int_equal(
                list.items[i].type->picture(&list.items[i], &image, &spare, &generator), CR_OK);
        int64_t area = image.height * image.width;
        assert_int_equal(cr_numel(batch.samples), 8 * 3 * area);
        for (int64_t i = 0; i < 3 * area; i++)
            assert_true(samples[index * 3 * area + i] ==
                        (float)image.pixels[i % area * 3 + i / area] / 255);
    }
    cr_image_free(&image);
    cr_image_free(&spare);
    cr_loader_free(loader);
    cr_dataset_free(set);
}

static void test_transforms_of_parts(void **state)
{
    (void)state;
    static const char *const lists[] = {
        "resize:64,center_crop:50",
        "resize:64,center_crop:90",
        "resize:200,random_crop:40:50",
        "resize:60:70,random_crop:60:60:4:9",
        "resize:64:interpolation=nearest,center_crop:50",
        "resize:64:interpolation=lanczos,center_crop:50,flip",
        "resize:131:80,center_crop:100:30",
        "resize:80:149,center_crop:30:100",
        "resize:131:149,center_crop:20",
        "random_resized_crop:32,flip",
        "random_resized_crop:32:interpolation=bicubic,rotate:20",
        "random_resized_crop:40,random_crop:30",
        "random_resized_crop:40,center_crop:50",
        "center_crop:40,flip,resize:20",
        "center_crop:200",
        "random_crop:33:44:8,jitter:0.3",
        "flip,resize:32,center_crop:24",
        "resize:32,flip,random_resized_crop:16",
    };
    for (int kind = 0; kind < KINDS; kind++) {
        struct one_picture one = { make_jpeg(kind, false, 131, 149) };
        for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
            compare(lists[i], &one);
        free(one.file.bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_jpeg_parts, clear_state),
        cmocka_unit_test_setup(test_jpeg_part_of_truncated, clear_state),
        cmocka_unit_test_setup(test_transforms_of_parts, clear_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
