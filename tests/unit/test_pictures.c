/* Pictures: their conversions, sets whose pictures differ in size, and how transforms of pictures
 * and of tensors follow each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "cresset/data.h"

#define COUNT 20

static int clear_state(void **state)
{
    (void)state;
    cr_error_clear();
    cr_frame_end_all();
    return 0;
}

static void assert_error(cr_status status, const char *words)
{
    assert_int_equal(cr_error_status(), status);
    if (!strstr(cr_error_message(), words))
        fail_msg("\"%s\" is not in: %s", words, cr_error_message());
    cr_error_clear();
}

/* Grey values as Pillow 9.4 gives them: Image.fromarray(rgb).convert("L"). */
static void colours_are_converted_as_pillow_does(void **state)
{
    (void)state;
    static const uint8_t rgb[4][3] = {
        { 255, 255, 255 }, { 255, 0, 0 }, { 1, 2, 3 }, { 90, 7, 201 }
    };
    static const uint8_t grey[4] = { 255, 76, 2, 54 };
    cr_image image = { 0 };
    assert_int_equal(cr_image_resize_room(&image, 2, 2, 3), CR_OK);
    memcpy(image.pixels, rgb, sizeof rgb);
    assert_int_equal(cr_image_convert(&image, 1), CR_OK);
    assert_memory_equal(image.pixels, grey, sizeof grey);
    assert_int_equal(cr_image_convert(&image, 4), CR_OK);
    assert_int_equal(image.channels, 4);
    for (int i = 0; i < 4; i++) {
        const uint8_t pixel[] = { grey[i], grey[i], grey[i], 255 };
        assert_memory_equal(image.pixels + 4 * i, pixel, 4);
    }
    cr_tensor *tensor = cr_image_to_tensor(&image);
    assert_int_equal(cr_dim(tensor, 0), 4);
    assert_int_equal((int)cr_element(tensor, 4 + 1), grey[1]);
    cr_image back = { 0 };
    assert_int_equal(cr_image_from_tensor(tensor, &back), CR_OK);
    assert_memory_equal(back.pixels, image.pixels, 16);
    assert_int_equal(cr_image_convert(&back, 3), CR_OK);
    assert_int_equal(back.pixels[3], grey[1]);
    assert_int_equal(back.pixels[5], grey[1]);
    assert_int_not_equal(cr_image_convert(&back, 2), CR_OK);
    assert_error(CR_ERROR_SHAPE, "1, 3 or 4 channels, not 2");
    assert_int_not_equal(cr_image_resize_room(&back, 70000, 1, 3), CR_OK);
    assert_error(CR_ERROR_SHAPE, "1 × 70000");
    cr_image_free(&image);
    cr_image_free(&back);
}

/* ---- pictures of many sizes ---- */

/* Picture i is (3 + i % 4) × (2 + i % 5); each value says where it is. */
static cr_status get_picture(void *context, int64_t index, cr_image *image, int64_t *label)
{
    (void)context;
    if (cr_image_resize_room(image, 3 + index % 4, 2 + index % 5, 3) != CR_OK)
        return cr_error_status();
    for (int64_t i = 0; i < image->height * image->width * 3; i++)
        image->pixels[i] = (uint8_t)(index + 7 * i);
    *label = index % 2;
    return CR_OK;
}

static cr_dataset *make_set(void)
{
    return cr_dataset_new(&(cr_dataset_source){ .name = "holiday",
                                                .size = COUNT,
                                                .sample_shape = CR_SHAPE(3, -1, -1),
                                                .dtype = CR_U8,
                                                .class_count = 2,
                                                .picture = get_picture });
}

/* A transform of the test: the upper left SIZE × SIZE pixels, which all pictures have. */
static void corner_shape(const cr_transform *transform, cr_shape *shape)
{
    shape->dim[1] = shape->dim[2] = (int64_t)transform->parameters[0];
}

static cr_status corner(const cr_transform *transform, cr_image *image, cr_image *spare,
                        cr_generator *generator)
{
    (void)generator;
    int64_t size = (int64_t)transform->parameters[0];
    cr_image held = *image;
    if (image->height < size || image->width < size)
        return cr_error_set(CR_ERROR_SHAPE, "the picture is too small");
    if (cr_image_resize_room(spare, size, size, image->channels) != CR_OK)
        return cr_error_status();
    for (int64_t y = 0; y < size; y++)
        memcpy(spare->pixels + y * size * 3, image->pixels + y * image->width * 3,
               (size_t)size * 3);
    *image = *spare;
    *spare = held;
    return CR_OK;
}

static const cr_transform_type corner_type = {
    .name = "corner",
    .most = 1,
    .parameters = { { "size", 2, NULL } },
    .shape = corner_shape,
    .picture = corner,
};

static void pictures_of_many_sizes_become_batches(void **state)
{
    (void)state;
    cr_dataset *set = make_set();
    int64_t every_second[] = { 1, 3, 5, 7, 9 };
    cr_dataset *odd = cr_dataset_subset(set, every_second, 5);
    cr_dataset *both = cr_dataset_concat((cr_dataset *[]){ set, odd }, 2);
    cr_transform_list list = { 0 };
    assert_int_equal(cr_transform_add(&list, &corner_type, NULL, 0), CR_OK);
    assert_int_equal(cr_transform_parse("flip:1,normalize:0.5:0.25", &list), CR_OK);
    for (int workers = 0; workers < 3; workers += 2) {
        cr_loader *loader =
            cr_loader_new(both, .batch_size = 25, .workers = workers, .transforms = &list);
        cr_batch batch;
        assert_int_equal(cr_loader_start(loader, 0, 0), CR_OK);
        assert_true(cr_loader_next(loader, &batch));
        const cr_shape wanted = CR_SHAPE(25, 3, 2, 2);
        cr_shape shape = cr_shape_of(batch.samples);
        assert_true(cr_shape_equal(&shape, &wanted));
        const float *data = cr_data(batch.samples);
        for (int64_t i = 0; i < 25; i++) {
            int64_t index = i < 20 ? i : every_second[i - 20];
            for (int64_t at = 0; at < 12; at++) {
                int64_t c = at / 4, y = at / 2 % 2, x = at % 2;
                int64_t from = (y * (2 + index % 5) + 1 - x) * 3 + c;
                float value = (float)(uint8_t)(index + 7 * from) / 255.0f;
                assert_true(data[i * 12 + at] == (value - 0.5f) / 0.25f);
            }
        }
        cr_loader_free(loader);
    }
    cr_dataset_free(both);
    cr_dataset_free(odd);
    cr_dataset_free(set);
}

static void a_size_is_needed(void **state)
{
    (void)state;
    cr_dataset *set = make_set();
    assert_null(cr_loader_new(set, .batch_size = 2));
    assert_error(CR_ERROR_SHAPE, "the pictures of holiday differ in size");
    uint8_t room[256];
    assert_int_not_equal(cr_dataset_get(set, 0, room, NULL), CR_OK);
    assert_error(CR_ERROR_UNSUPPORTED, "holiday differ in size");
    cr_transform_list list = { 0 };
    double three = 3;
    assert_int_equal(cr_transform_add(&list, &corner_type, &three, 1), CR_OK);
    cr_loader *loader = cr_loader_new(set, .batch_size = 20, .transforms = &list);
    cr_batch batch;
    cr_loader_start(loader, 0, 0);
    assert_false(cr_loader_next(loader, &batch));
    assert_error(CR_ERROR_SHAPE, "sample 0 of holiday: transform corner: the picture is too small");
    cr_loader_free(loader);
    cr_dataset_free(set);
}

static void statistics_count_pixels(void **state)
{
    (void)state;
    cr_dataset *set = make_set();
    cr_dataset_statistics statistics;
    assert_int_equal(cr_dataset_measure(set, &statistics), CR_OK);
    double sum = 0, count = 0;
    for (int64_t index = 0; index < COUNT; index++) {
        int64_t area = (3 + index % 4) * (2 + index % 5);
        for (int64_t i = 0; i < area; i++)
            sum += (uint8_t)(index + 7 * (3 * i + 1));
        count += (double)area;
    }
    assert_int_equal(statistics.channel_count, 3);
    assert_int_equal(statistics.class_counts[1], COUNT / 2);
    assert_float_equal(statistics.channel_means[1], sum / count / 255, 1e-12);
    cr_dataset_statistics_free(&statistics);
    cr_dataset_free(set);
}

/* ---- the order of transforms ---- */

static void assert_joined(const char *augment, const char *own, bool own_has_size,
                          const char *wanted)
{
    cr_transform_list first = { 0 }, second = { 0 }, joined;
    cr_text text = { 0 };
    if (own_has_size)
        assert_int_equal(cr_transform_add(&second, &corner_type, NULL, 0), CR_OK);
    assert_int_equal(cr_transform_parse(own, &second), CR_OK);
    if (*augment == '!') { /* the augmentation sets a size, too */
        cr_transform_add(&first, &corner_type, (double[]){ 3 }, 1);
        augment++;
    }
    assert_int_equal(cr_transform_parse(augment, &first), CR_OK);
    assert_int_equal(cr_transform_join(&first, &second, &joined), CR_OK);
    cr_transform_print(&joined, &text);
    assert_string_equal(text.data, wanted);
    cr_text_free(&text);
}

static void lists_are_joined_for_training(void **state)
{
    (void)state;
    assert_joined("flip,erase:1", "normalize:0:1", true, "corner,flip,erase:1,normalize:0:1");
    assert_joined("flip", "normalize:0:1", false, "flip,normalize:0:1");
    assert_joined("!flip", "flip:0,normalize:0:1", true, "flip:0,corner:3,flip,normalize:0:1");
}

static void transforms_of_pictures_come_first(void **state)
{
    (void)state;
    cr_transform_list list = { 0 };
    assert_int_equal(cr_transform_parse("normalize:0:1", &list), CR_OK);
    assert_int_not_equal(cr_transform_add(&list, &corner_type, NULL, 0), CR_OK);
    assert_error(CR_ERROR_ARGUMENT, "corner works on pictures and must stand before normalize");
    cr_dataset *floats = cr_dataset_from_tensors(cr_zeros(CR_SHAPE(4, 3, 5, 5)));
    list = (cr_transform_list){ 0 };
    assert_int_equal(cr_transform_add(&list, &corner_type, NULL, 0), CR_OK);
    assert_null(cr_loader_new(floats, .transforms = &list));
    assert_error(CR_ERROR_ARGUMENT, "corner works on pictures, which these samples are not");
    cr_dataset_free(floats);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(colours_are_converted_as_pillow_does, clear_state),
        cmocka_unit_test_setup(pictures_of_many_sizes_become_batches, clear_state),
        cmocka_unit_test_setup(a_size_is_needed, clear_state),
        cmocka_unit_test_setup(statistics_count_pixels, clear_state),
        cmocka_unit_test_setup(lists_are_joined_for_training, clear_state),
        cmocka_unit_test_setup(transforms_of_pictures_come_first, clear_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
