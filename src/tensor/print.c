/* Printing by the rules of NumPy's array2string.
 *
 * A first pass over the elements that will be shown finds the format they share: whether an
 * exponent is needed, and how wide the parts before and after the point are. A second one writes
 * them, wrapping rows at the line width. A number has as few digits as identify it in its dtype,
 * and no more than the precision allows. */
#include "cresset/print.h"

#include <math.h>
#include <string.h>

#include "tensor/tensor.h"

#define PREFIX "tensor("

struct printer {
    const cr_tensor *tensor;
    cr_text *text;
    cr_print_options options;
    bool is_summary;
    int line_width; /* without what follows the last bracket */
    int column;     /* where the current line has come to */

    /* the format: for floats, found by measure */
    bool has_exponent;
    int pad_left;
    int pad_right; /* digits after the point */
    int exponent_digits;
    int width; /* of integers and bool */

    /* what measure has seen */
    double greatest, least; /* of the finite magnitudes that are not 0 */
    bool has_finite, has_other, has_negative_infinity;
};

/* ---- single numbers ---- */

/* The value as its dtype would store it. */
static double stored(cr_dtype dtype, double value)
{
    switch (dtype) {
    case CR_F32:
        return (double)(float)value;
    case CR_BF16:
        return (double)bf16_to_float(bf16_from_float((float)value));
    case CR_F16:
        return (double)f16_to_float(f16_from_float((float)value));
    default:
        return value;
    }
}

/* A number split into its parts, as text. */
struct parts {
    char mantissa[400]; /* with sign; only digits and one point */
    int left;           /* characters before the point */
    int right;          /* digits after it, without the zeros at the end */
    int exponent;
};

#define MOST_DIGITS 17

/* The least number of significant digits that identify the value. */
static int shortest_digits(cr_dtype dtype, double value)
{
    for (int digits = 1; digits < MOST_DIGITS; digits++) {
        cr_text text = { 0 };
        double back = 0;
        cr_text_printf(&text, "%.*e", digits - 1, value);
        bool same = text.data && cr_parse_double(text.data, &back) && stored(dtype, back) == value;
        cr_text_free(&text);
        if (same)
            return digits;
    }
    return MOST_DIGITS;
}

/* Splits "-12.5000" or "1.25e+03", with zeros at the end dropped. */
static void split_text(const char *text, struct parts *parts)
{
    const char *e = strchr(text, 'e');
    size_t length = e ? (size_t)(e - text) : strlen(text);
    long long exponent = 0;
    if (e)
        (void)cr_parse_int64(e[1] == '+' ? e + 2 : e + 1, &exponent);
    length = CR_MIN(length, sizeof parts->mantissa - 2);
    memcpy(parts->mantissa, text, length);
    parts->mantissa[length] = '\0';
    char *point = strchr(parts->mantissa, '.');
    parts->left = point ? (int)(point - parts->mantissa) : (int)length;
    while (point && parts->mantissa[length - 1] == '0')
        parts->mantissa[--length] = '\0';
    parts->right = point ? (int)length - parts->left - 1 : 0;
    if (!point) {
        parts->mantissa[length] = '.';
        parts->mantissa[length + 1] = '\0';
    }
    parts->exponent = (int)exponent;
}

static void scientific(const struct printer *p, double value, struct parts *parts)
{
    int digits = shortest_digits((cr_dtype)p->tensor->dtype, value) - 1;
    cr_text text = { 0 };
    cr_text_printf(&text, "%.*e", CR_MIN(digits, p->options.precision), value);
    split_text(text.data ? text.data : "0e0", parts);
    cr_text_free(&text);
}

/* The shortest digits reach to a power of ten below the point; beyond the precision they are
 * rounded. */
static void positional(const struct printer *p, double value, struct parts *parts)
{
    struct parts exact;
    cr_text text = { 0 };
    int digits = shortest_digits((cr_dtype)p->tensor->dtype, value);
    cr_text_printf(&text, "%.*e", digits - 1, value);
    split_text(text.data ? text.data : "0e0", &exact);
    int after = value == 0 ? 0 : CR_MAX(exact.right - exact.exponent, 0);
    text.length = 0;
    cr_text_printf(&text, "%.*f", CR_MIN(after, p->options.precision), value);
    split_text(text.data ? text.data : "0", parts);
    cr_text_free(&text);
}

static void pad(cr_text *text, int count)
{
    for (int i = 0; i < count; i++)
        cr_text_append(text, " ");
}

static void write_other(const struct printer *p, double value)
{
    const char *word = isnan(value) ? "nan" : value < 0 ? "-inf" : "inf";
    int right = p->has_exponent ? p->pad_right + 2 + p->exponent_digits : p->pad_right;
    pad(p->text, p->pad_left + right + 1 - (int)strlen(word));
    cr_text_append(p->text, word);
}

/* All numbers with an exponent show as many digits as the one that needs most. */
static void write_scientific(const struct printer *p, double value)
{
    struct parts parts;
    cr_text text = { 0 };
    cr_text_printf(&text, "%.*e", p->pad_right, value);
    const char *e = text.data ? strchr(text.data, 'e') : NULL;
    if (e) {
        split_text(text.data, &parts);
        pad(p->text, p->pad_left - parts.left);
        cr_text_append_bytes(p->text, text.data, (size_t)(e - text.data));
        cr_text_printf(p->text, "%se%c%0*d", p->pad_right ? "" : ".",
                       parts.exponent < 0 ? '-' : '+', p->exponent_digits,
                       parts.exponent < 0 ? -parts.exponent : parts.exponent);
    }
    cr_text_free(&text);
}

static void write_float(const struct printer *p, double value)
{
    struct parts parts;
    if (!isfinite(value)) {
        write_other(p, value);
        return;
    }
    if (p->has_exponent) {
        write_scientific(p, value);
        return;
    }
    positional(p, value, &parts);
    pad(p->text, p->pad_left - parts.left);
    cr_text_append(p->text, parts.mantissa);
    pad(p->text, p->pad_right - parts.right);
}

static void write_element(const struct printer *p, int64_t position)
{
    if (tensor_is_floating(p->tensor))
        write_float(p, cr_element(p->tensor, position));
    else if (p->tensor->dtype == CR_BOOL)
        cr_text_printf(p->text, "%*s", p->width,
                       cr_element_int64(p->tensor, position) ? "True" : "False");
    else
        cr_text_printf(p->text, "%*lld", p->width,
                       (long long)cr_element_int64(p->tensor, position));
}

/* ---- the elements that are shown ---- */

/* The i-th index shown along a dimension, and how many there are. */
static int64_t shown_count(const struct printer *p, int64_t size)
{
    return p->is_summary ? CR_MIN(size, 2 * p->options.edge_items) : size;
}

static int64_t shown_index(const struct printer *p, int64_t size, int64_t i)
{
    bool is_cut = p->is_summary && size > 2 * p->options.edge_items;
    return is_cut && i >= p->options.edge_items ? size - 2 * p->options.edge_items + i : i;
}

typedef void (*element_visitor)(struct printer *p, int64_t position);

static void visit(struct printer *p, int dim, int64_t position, element_visitor visitor)
{
    if (dim == p->tensor->shape.ndim) {
        visitor(p, position);
        return;
    }
    int64_t size = p->tensor->shape.dim[dim];
    for (int64_t i = 0; i < shown_count(p, size); i++)
        visit(p, dim + 1, position * size + shown_index(p, size, i), visitor);
}

/* ---- the format they share ---- */

static void see_magnitude(struct printer *p, int64_t position)
{
    double value = cr_element(p->tensor, position);
    double magnitude = fabs(value);
    if (!isfinite(value)) {
        p->has_other = true;
        p->has_negative_infinity = p->has_negative_infinity || value == -(double)INFINITY;
        return;
    }
    if (magnitude > 0) {
        p->least = p->greatest == 0 ? magnitude : CR_MIN(p->least, magnitude);
        p->greatest = CR_MAX(p->greatest, magnitude);
    }
    p->has_finite = true;
}

static void see_width(struct printer *p, int64_t position)
{
    double value = cr_element(p->tensor, position);
    struct parts parts;
    if (!isfinite(value))
        return;
    if (p->has_exponent)
        scientific(p, value, &parts);
    else
        positional(p, value, &parts);
    p->pad_left = CR_MAX(p->pad_left, parts.left);
    p->pad_right = CR_MAX(p->pad_right, parts.right);
    int exponent = parts.exponent < 0 ? -parts.exponent : parts.exponent;
    p->exponent_digits = CR_MAX(p->exponent_digits, exponent >= 100 ? 3 : 2);
}

static void measure_floats(struct printer *p)
{
    cr_dtype dtype = (cr_dtype)p->tensor->dtype;
    visit(p, 0, 0, see_magnitude);
    if (p->greatest > 0)
        p->has_exponent = p->greatest >= 1e8 || p->least < 0.0001 ||
                          stored(dtype, p->greatest / p->least) > 1000.0;
    if (p->has_finite)
        visit(p, 0, 0, see_width);
    if (!p->has_other)
        return;
    int right = p->has_exponent ? p->pad_right + 2 + p->exponent_digits : p->pad_right;
    int word = p->has_negative_infinity ? 4 : 3;
    p->pad_left = CR_MAX(p->pad_left, word - right - 1);
}

static void see_integer(struct printer *p, int64_t position)
{
    cr_text text = { 0 };
    cr_text_printf(&text, "%lld", (long long)cr_element_int64(p->tensor, position));
    p->width = CR_MAX(p->width, (int)text.length);
    cr_text_free(&text);
}

static void measure(struct printer *p)
{
    if (tensor_is_floating(p->tensor))
        measure_floats(p);
    else if (p->tensor->dtype == CR_BOOL)
        p->width = p->tensor->shape.ndim ? 5 : 4;
    else
        visit(p, 0, 0, see_integer);
}

/* ---- brackets and lines ---- */

/* Begins a new line if a word of this width would not fit. */
static void make_room(struct printer *p, int word, int width, int indent)
{
    if (p->column + word > width && p->column > indent) {
        p->text->length--; /* the space after the comma */
        cr_text_append(p->text, "\n");
        pad(p->text, indent);
        p->column = indent;
    }
}

static void write_row(struct printer *p, int64_t position, int64_t size, int width, int indent)
{
    for (int64_t i = 0; i < shown_count(p, size); i++) {
        int64_t index = shown_index(p, size, i);
        cr_text word = { 0 };
        struct printer to_word = *p;
        to_word.text = &word;
        write_element(&to_word, position * size + index);
        if (index != i && i == p->options.edge_items) {
            make_room(p, 3, width, indent);
            cr_text_append(p->text, "..., ");
            p->column += 5;
        }
        make_room(p, (int)word.length, width, indent);
        cr_text_append_bytes(p->text, word.data ? word.data : "", word.length);
        p->column += (int)word.length;
        if (i + 1 < shown_count(p, size)) {
            cr_text_append(p->text, ", ");
            p->column += 2;
        }
        cr_text_free(&word);
    }
}

static void end_line(struct printer *p, int newlines, int indent)
{
    for (int i = 0; i < newlines; i++)
        cr_text_append(p->text, "\n");
    pad(p->text, indent);
    p->column = indent;
}

/* The part at `position` of the dimensions before dim. `width` shrinks by a bracket a level. */
static void write_part(struct printer *p, int dim, int64_t position, int width, int indent)
{
    int left = p->tensor->shape.ndim - dim;
    int64_t size = p->tensor->shape.dim[dim];
    cr_text_append(p->text, "[");
    p->column = indent;
    if (left == 1)
        write_row(p, position, size, width - 1, indent);
    for (int64_t i = 0; left > 1 && i < shown_count(p, size); i++) {
        int64_t index = shown_index(p, size, i);
        if (index != i && i == p->options.edge_items) {
            cr_text_append(p->text, "...,");
            end_line(p, left - 1, indent);
        }
        write_part(p, dim + 1, position * size + index, width - 1, indent + 1);
        if (i + 1 < shown_count(p, size)) {
            cr_text_append(p->text, ",");
            end_line(p, left - 1, indent);
        }
    }
    cr_text_append(p->text, "]");
}

/* ---- the whole ---- */

static int last_line_length(const cr_text *text, size_t begin)
{
    size_t at = text->length;
    while (at > begin && text->data[at - 1] != '\n')
        at--;
    return (int)(text->length - at);
}

static bool dtype_is_implied(const cr_tensor *tensor)
{
    bool is_default =
        tensor->dtype == CR_F32 || tensor->dtype == CR_I64 || tensor->dtype == CR_BOOL;
    return is_default && tensor_numel(tensor) > 0;
}

static void write_dtype(const struct printer *p, size_t begin)
{
    cr_text word = { 0 };
    cr_text_printf(&word, "dtype=%s)", cr_dtype_name((cr_dtype)p->tensor->dtype));
    int length = last_line_length(p->text, begin) + (int)word.length + 1;
    cr_text_append(p->text, length > p->options.line_width ? "\n" : " ");
    if (length > p->options.line_width)
        pad(p->text, (int)strlen(PREFIX));
    cr_text_append(p->text, word.data ? word.data : "");
    cr_text_free(&word);
}

static void write_elements(struct printer *p)
{
    const cr_shape *shape = &p->tensor->shape;
    char text[CR_SHAPE_TEXT];
    int indent = (int)strlen(PREFIX) + 1;
    if (tensor_numel(p->tensor) == 0) {
        cr_text_append(p->text, "[]");
        if (shape->ndim > 1)
            cr_text_printf(p->text, ", shape=%s", cr_shape_format(shape, text, sizeof text));
        return;
    }
    measure(p);
    if (shape->ndim == 0)
        write_element(p, 0);
    else
        write_part(p, 0, 0, p->line_width, indent);
}

static void write_meta(const cr_tensor *tensor, cr_text *text)
{
    char shape[CR_SHAPE_TEXT];
    cr_text_printf(text, PREFIX "..., shape=%s, dtype=%s, device=meta)",
                   cr_shape_format(&tensor->shape, shape, sizeof shape),
                   cr_dtype_name((cr_dtype)tensor->dtype));
}

cr_status cr_tensor_format_with(const cr_tensor *tensor, cr_print_options options, cr_text *text)
{
    if (cr_failed())
        return cr_error_status();
    if (!tensor)
        return cr_error_set(CR_ERROR_ARGUMENT, "format: the tensor is NULL");
    if (!tensor->storage) {
        write_meta(tensor, text);
        return cr_error_status();
    }
    options.precision = options.precision > 0 ? options.precision : 4;
    options.threshold = options.threshold > 0 ? options.threshold : 1000;
    options.edge_items = options.edge_items > 0 ? options.edge_items : 3;
    options.line_width = options.line_width > 0 ? options.line_width : 80;
    struct printer printer = { .tensor = tensor,
                               .text = text,
                               .options = options,
                               .is_summary = tensor_numel(tensor) > options.threshold,
                               .line_width = options.line_width - 1 };
    size_t begin = text->length;
    cr_text_append(text, PREFIX);
    write_elements(&printer);
    cr_text_append(text, dtype_is_implied(tensor) ? ")" : ",");
    if (!cr_failed() && !dtype_is_implied(tensor))
        write_dtype(&printer, begin);
    return cr_error_status();
}

cr_status cr_tensor_format(const cr_tensor *tensor, cr_text *text)
{
    return cr_tensor_format_with(tensor, (cr_print_options){ 0 }, text);
}
