/* What operators ask of the node that they run for: inputs, attributes, and numbers in tensors. And
 * the list of all operators. */
#include <stdio.h>
#include <string.h>

#include "io/onnx/onnx.h"

/* ---- the table ---- */

const struct onnx_operator *onnx_operator_find(const char *domain, const char *type)
{
#define FAMILY(name) name,
    static const struct onnx_operator *const families[] = { ONNX_FAMILY_TABLE(FAMILY) };
#undef FAMILY
    if (domain[0])
        return NULL;
    for (int f = 0; f < CR_COUNT_OF(families); f++) {
        for (const struct onnx_operator *op = families[f]; op->name; op++) {
            if (strcmp(op->name, type) == 0)
                return op;
        }
    }
    return NULL;
}

/* ---- inputs and outputs ---- */

void onnx_refuse(const struct onnx_call *call, const char *format, ...)
{
    char words[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    cr_error_set(CR_ERROR_UNSUPPORTED, "%s", words);
    (void)call;
}

cr_tensor *onnx_input(const struct onnx_call *call, int i)
{
    return i < call->input_count ? call->inputs[i].tensor : NULL;
}

cr_tensor *onnx_need(const struct onnx_call *call, int i)
{
    cr_tensor *tensor = onnx_input(call, i);
    if (!tensor)
        cr_error_set(CR_ERROR_FORMAT, "its input %d is missing", i);
    return tensor;
}

int onnx_input_type(const struct onnx_call *call, int i)
{
    if (i >= call->input_count || !call->inputs[i].tensor)
        return 0;
    int type = call->inputs[i].type;
    return type ? type : onnx_type_of_dtype(cr_dtype_of(call->inputs[i].tensor));
}

bool onnx_wants(const struct onnx_call *call, int i)
{
    return i < call->output_count && call->node->outputs[i] >= 0;
}

void onnx_give(struct onnx_call *call, int i, cr_tensor *tensor)
{
    if (i < call->output_count)
        call->outputs[i].tensor = tensor;
}

/* ---- attributes ---- */

const struct onnx_attribute *onnx_attribute(const struct onnx_call *call, const char *name)
{
    for (int i = 0; i < call->node->attribute_count; i++) {
        if (strcmp(call->node->attributes[i].name, name) == 0)
            return &call->node->attributes[i];
    }
    return NULL;
}

int64_t onnx_int(const struct onnx_call *call, const char *name, int64_t otherwise)
{
    const struct onnx_attribute *attribute = onnx_attribute(call, name);
    return attribute ? attribute->i : otherwise;
}

double onnx_float(const struct onnx_call *call, const char *name, double otherwise)
{
    const struct onnx_attribute *attribute = onnx_attribute(call, name);
    return attribute ? attribute->f : otherwise;
}

const char *onnx_string(const struct onnx_call *call, const char *name, const char *otherwise)
{
    const struct onnx_attribute *attribute = onnx_attribute(call, name);
    return attribute && attribute->s ? attribute->s : otherwise;
}

int onnx_long_list(const struct onnx_call *call, const char *name, int64_t *list, int room)
{
    const struct onnx_attribute *attribute = onnx_attribute(call, name);
    if (!attribute || !attribute->ints || attribute->type != ONNX_ATTRIBUTE_INTS)
        return 0;
    if (attribute->count > room) {
        cr_error_set(CR_ERROR_FORMAT, "its attribute %s has %d numbers, and at most %d fit", name,
                     attribute->count, room);
        return 0;
    }
    memcpy(list, attribute->ints, (size_t)attribute->count * sizeof *list);
    return attribute->count;
}

bool onnx_ints(const struct onnx_call *call, const char *name, cr_shape *list)
{
    *list = (cr_shape){ 0 };
    list->ndim = onnx_long_list(call, name, list->dim, CR_MAX_DIMS);
    const struct onnx_attribute *attribute = onnx_attribute(call, name);
    return attribute && attribute->type == ONNX_ATTRIBUTE_INTS && !cr_failed();
}

/* ---- numbers in tensors ---- */

static bool is_readable(const cr_tensor *tensor)
{
    if (!tensor || cr_failed())
        return false;
    if (cr_device_of(tensor) != CR_META)
        return true;
    cr_error_set(CR_ERROR_UNSUPPORTED,
                 "it needs a value that depends on the input, in a run that has only shapes");
    return false;
}

int onnx_read_long_list(const struct onnx_call *call, cr_tensor *tensor, int64_t *list, int room)
{
    (void)call;
    if (!is_readable(tensor))
        return 0;
    int64_t count = cr_numel(tensor);
    if (count > room) {
        cr_error_set(CR_ERROR_FORMAT, "a list of %lld numbers is given where at most %d fit",
                     (long long)count, room);
        return 0;
    }
    for (int i = 0; i < (int)count; i++)
        list[i] = cr_element_int64(tensor, i);
    return (int)count;
}

bool onnx_read_ints(const struct onnx_call *call, cr_tensor *tensor, cr_shape *list)
{
    *list = (cr_shape){ 0 };
    list->ndim = onnx_read_long_list(call, tensor, list->dim, CR_MAX_DIMS);
    return !cr_failed();
}

bool onnx_read_int(const struct onnx_call *call, cr_tensor *tensor, int64_t *value)
{
    (void)call;
    if (!is_readable(tensor) || cr_numel(tensor) != 1) {
        cr_error_set(CR_ERROR_FORMAT, "one number is needed where none or several are given");
        return false;
    }
    *value = cr_element_int64(tensor, 0);
    return true;
}

bool onnx_read_float(const struct onnx_call *call, cr_tensor *tensor, double *value)
{
    (void)call;
    if (!is_readable(tensor) || cr_numel(tensor) != 1) {
        cr_error_set(CR_ERROR_FORMAT, "one number is needed where none or several are given");
        return false;
    }
    *value = cr_element(tensor, 0);
    return true;
}

bool onnx_axes(const struct onnx_call *call, int input, const char *attribute, cr_shape *list)
{
    cr_tensor *tensor = onnx_input(call, input);
    if (tensor)
        return onnx_read_ints(call, tensor, list);
    onnx_ints(call, attribute, list);
    return !cr_failed();
}

bool onnx_axis(const struct onnx_call *call, int64_t axis, int ndim, int *result)
{
    (void)call;
    if (axis < -ndim || axis >= CR_MAX(ndim, 1)) {
        cr_error_set(CR_ERROR_SHAPE, "its axis %lld is outside of %d dimensions", (long long)axis,
                     ndim);
        return false;
    }
    *result = (int)(axis < 0 ? axis + ndim : axis);
    return true;
}

cr_tensor *onnx_int_vector(cr_shape list)
{
    return cr_from_buffer(list.dim, CR_SHAPE(list.ndim), CR_I64);
}
