/* The beginning of a list of transforms as one step: a resize and the crop after it (or a crop that
 * is resized) become a box of the picture, a size, and a window of that size. So a decoder may be
 * asked for that part alone, and only the pixels that are left in the end are computed. */
#include "data/data.h"

static cr_image_box whole(int64_t height, int64_t width)
{
    return (cr_image_box){ 0, 0, height, width };
}

static bool is_inside(const cr_image_box *box, int64_t height, int64_t width)
{
    return box->top >= 0 && box->left >= 0 && box->top + box->height <= height &&
           box->left + box->width <= width;
}

/* Takes a crop of what is made so far, if it is one and cuts inside. */
static void take_crop(const cr_transform_list *list, struct data_plan *plan)
{
    cr_generator generator = plan->generator;
    cr_image_box box;
    struct data_resizing *to = &plan->to;
    if (plan->used >= list->count ||
        !data_crop_box(&list->items[plan->used], to->height, to->width, &generator, &box) ||
        !is_inside(&box, to->height, to->width))
        return;
    to->window = box;
    plan->generator = generator;
    plan->used++;
}

void data_plan_make(const cr_transform_list *list, int64_t height, int64_t width,
                    cr_generator generator, struct data_plan *plan)
{
    *plan = (struct data_plan){ .box = whole(height, width),
                                .to = { height, width, whole(height, width) },
                                .generator = generator };
    if (list->count == 0)
        return;
    const cr_transform *first = &list->items[0];
    if (data_resized_crop_box(first, height, width, &plan->generator, &plan->box) ||
        first->type == &data_resize_type) {
        cr_shape shape = CR_SHAPE(1, height, width);
        first->type->shape(first, &shape);
        plan->to =
            (struct data_resizing){ shape.dim[1], shape.dim[2], whole(shape.dim[1], shape.dim[2]) };
        plan->interpolation = data_interpolation_of(first);
        plan->used = 1;
    }
    take_crop(list, plan);
}

cr_status data_plan_apply(const struct data_plan *plan, const cr_image_part *part, cr_image *image,
                          cr_image *spare)
{
    cr_image_box box = plan->box;
    box.top -= part->box.top;
    box.left -= part->box.left;
    return data_resize_part(image, spare, &box, &plan->to, plan->interpolation);
}

cr_image_box data_plan_needs(const struct data_plan *plan)
{
    return data_resize_needs(&plan->box, &plan->to, plan->interpolation);
}
