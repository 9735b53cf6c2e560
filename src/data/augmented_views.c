/* The views of test-time augmentation: what a classifier sees of one picture several times,
 * mirrored or cut out elsewhere, so that the mean of its answers is steadier than one. */
#include <string.h>

#include "data/data.h"

static const char *const view_words[CR_VIEWS_COUNT] = {
#define VIEW_WORD(name, word, about) word,
    CR_VIEWS_TABLE(VIEW_WORD)
#undef VIEW_WORD
};

static const char *const view_abouts[CR_VIEWS_COUNT] = {
#define VIEW_ABOUT(name, word, about) about,
    CR_VIEWS_TABLE(VIEW_ABOUT)
#undef VIEW_ABOUT
};

const char *cr_views_word(cr_views views)
{
    return (unsigned)views < CR_VIEWS_COUNT ? view_words[views] : "unknown";
}

const char *cr_views_about(cr_views views)
{
    return (unsigned)views < CR_VIEWS_COUNT ? view_abouts[views] : "";
}

/* `own` with mirroring after its last transform of pictures. */
static cr_status mirror(const cr_transform_list *own, bool across, bool down,
                        cr_transform_list *view)
{
    cr_transform_list flips = { 0 };
    if (across)
        cr_transform_parse("flip:1", &flips);
    if (down)
        cr_transform_parse("vertical_flip:1", &flips);
    return cr_failed() ? cr_error_status() : cr_transform_join(&flips, own, view);
}

/* `own` with its center_crop moved to a corner. */
static cr_status move_crop(const cr_transform_list *own, int corner, cr_transform_list *view)
{
    *view = *own;
    for (int i = own->count - 1; i >= 0; i--) {
        cr_transform *crop = &view->items[i];
        if (crop->type != &data_center_crop)
            continue;
        crop->type = &data_corner_crop;
        crop->parameters[2] = corner;
        crop->count = 3;
        return CR_OK;
    }
    return cr_error_set(CR_ERROR_ARGUMENT,
                        "five and ten crops take corners in place of the middle, but no "
                        "center_crop is among the transforms of the model");
}

static int add_flips(const cr_transform_list *own, cr_transform_list *views)
{
    for (int i = 0; i < 4; i++)
        mirror(own, i & 1, i & 2, &views[i]);
    return 4;
}

static int add_crops(const cr_transform_list *own, bool mirrored, cr_transform_list *views)
{
    int count = 1;
    views[0] = *own;
    for (int corner = 0; corner < 4 && move_crop(own, corner, &views[count]) == CR_OK; corner++)
        count++;
    for (int i = 0; i < 5 && mirrored && !cr_failed(); i++)
        mirror(&views[i], true, false, &views[count++]);
    return count;
}

int cr_transform_views(const cr_transform_list *own, cr_views views,
                       cr_transform_list lists[CR_MOST_VIEWS])
{
    int count = 1;
    if (cr_failed())
        return 0;
    lists[0] = *own;
    if (views == CR_VIEWS_FLIP && mirror(own, true, false, &lists[1]) == CR_OK)
        count = 2;
    else if (views == CR_VIEWS_FLIPS)
        count = add_flips(own, lists);
    else if (views == CR_VIEWS_FIVE_CROP || views == CR_VIEWS_TEN_CROP)
        count = add_crops(own, views == CR_VIEWS_TEN_CROP, lists);
    return cr_failed() ? 0 : count;
}
