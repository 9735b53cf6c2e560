/* Tensors in ONNX files: what is said of them is checked when the file is opened, their elements
 * are read when they are wanted. Elements are raw bytes in the file or in another one beside it,
 * or numbers in fields, in which old files have them. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cresset/file.h"
#include "io/onnx/onnx.h"

static cr_status refuse(const cr_onnx *onnx, const struct onnx_tensor *tensor, const char *what)
{
    char shown[ONNX_SHOWN];
    return cr_error_set(CR_ERROR_FORMAT, "%s: the tensor \"%s\" %s", onnx->source.path,
                        onnx_show(tensor->name, shown), what);
}

/* ---- external data ---- */

/* The file at a location beside the model, if it stays in the model's folder; NULL on failure. */
static char *external_path(const cr_onnx *onnx, const struct onnx_tensor *tensor,
                           const char *location)
{
    bool leaves = !location[0] || location[0] == '/';
    for (const char *part = location; *part && !leaves; part += *part == '/') {
        size_t length = strcspn(part, "/");
        leaves = length == 2 && strncmp(part, "..", 2) == 0;
        part += length;
    }
    if (leaves) {
        refuse(onnx, tensor, "has external data outside of the model's folder, which is refused");
        return NULL;
    }
    const char *slash = strrchr(onnx->source.path, '/');
    char *folder =
        slash ? cr_string_format("%.*s", (int)(slash - onnx->source.path + 1), onnx->source.path)
              : cr_string_copy("./");
    char *path = folder ? cr_string_format("%s%s", folder, location) : NULL;
    char real_folder[PATH_MAX], real_path[PATH_MAX];
    if (path && (!realpath(folder, real_folder) || !realpath(path, real_path))) {
        cr_error_set(CR_ERROR_IO, "cannot open %s, the external data of %s: %s", path,
                     onnx->source.path, strerror(errno));
    } else if (path) {
        size_t length = strlen(real_folder);
        if (strncmp(real_folder, real_path, length) != 0 ||
            (length > 1 && real_path[length] != '/'))
            refuse(onnx, tensor,
                   "has external data behind a link that leads out of the model's "
                   "folder, which is refused");
    }
    cr_free(folder);
    if (!cr_failed())
        return path;
    cr_free(path);
    return NULL;
}

static const struct onnx_source *open_external(cr_onnx *onnx, const struct onnx_tensor *tensor,
                                               const char *location)
{
    for (struct onnx_external *e = onnx->externals; e; e = e->next) {
        if (strcmp(e->location, location) == 0)
            return &e->source;
    }
    if (onnx->source.memory) {
        refuse(onnx, tensor, "has external data, which a model in memory cannot have");
        return NULL;
    }
    char *path = external_path(onnx, tensor, location);
    struct onnx_external *external = path ? onnx_keep(onnx, 1, sizeof *external) : NULL;
    if (external) {
        external->location = location;
        external->source.descriptor = -1;
        external->next = onnx->externals;
        onnx->externals = external;
        source_open(&external->source, path);
    }
    cr_free(path);
    return cr_failed() ? NULL : &external->source;
}

/* One pair of external_data: location, offset or length. */
static cr_status read_external_pair(cr_onnx *onnx, struct wire message, char **location,
                                    long long *offset, long long *length)
{
    struct wire_field field;
    char *texts[2] = { NULL, NULL };
    while (wire_next(&message, &field)) {
        if (field.number < 1 || field.number > 2 || field.type != WIRE_BYTES)
            continue;
        uint64_t bytes = field.end - field.begin;
        char *text = bytes < ONNX_MAX_NAME ? onnx_keep(onnx, (size_t)bytes + 1, 1) : NULL;
        if (!text || source_read(&onnx->source, field.begin, text, (size_t)bytes) != CR_OK)
            return cr_error_set(CR_ERROR_FORMAT, "%s: the place of external data is too long",
                                onnx->source.path);
        texts[field.number - 1] = text;
    }
    if (cr_failed() || !texts[0] || !texts[1])
        return cr_error_status();
    bool is_number = true;
    if (strcmp(texts[0], "location") == 0)
        *location = texts[1];
    else if (strcmp(texts[0], "offset") == 0)
        is_number = cr_parse_int64(texts[1], offset);
    else if (strcmp(texts[0], "length") == 0)
        is_number = cr_parse_int64(texts[1], length);
    if (!is_number || *offset < 0)
        return cr_error_set(CR_ERROR_FORMAT, "%s: the place of external data is no number",
                            onnx->source.path);
    return CR_OK;
}

static cr_status read_external(cr_onnx *onnx, struct onnx_tensor *tensor, uint64_t bytes)
{
    struct wire_field field;
    struct wire message = tensor->message;
    char *location = NULL;
    long long offset = 0, length = -1;
    while (wire_next(&message, &field)) {
        if (field.number == 13 && field.type == WIRE_BYTES)
            read_external_pair(onnx, wire_inside(&message, &field), &location, &offset, &length);
    }
    if (cr_failed())
        return cr_error_status();
    if (!location)
        return refuse(onnx, tensor, "has external data without a file");
    tensor->external = open_external(onnx, tensor, location);
    if (!tensor->external)
        return cr_error_status();
    if (length >= 0 && (uint64_t)length != bytes)
        return refuse(onnx, tensor, "has external data of another size than its shape says");
    if ((uint64_t)offset > tensor->external->size ||
        bytes > tensor->external->size - (uint64_t)offset)
        return refuse(onnx, tensor, "ends after the end of its external data");
    tensor->is_raw = true;
    tensor->raw_begin = (uint64_t)offset;
    tensor->raw_bytes = bytes;
    return CR_OK;
}

/* ---- what is said of a tensor ---- */

/* The field that holds the numbers of a type which are not raw, and how they are written. */
static uint32_t data_field(int type, enum wire_type *wire)
{
    *wire = WIRE_VARINT;
    switch (type) {
    case ONNX_FLOAT:
        *wire = WIRE_FIXED32;
        return 4;
    case ONNX_DOUBLE:
        *wire = WIRE_FIXED64;
        return 10;
    case ONNX_INT64:
        return 7;
    case ONNX_UINT32:
    case ONNX_UINT64:
        return 11;
    default:
        return 5;
    }
}

static cr_status read_dims(cr_onnx *onnx, struct onnx_tensor *tensor, const struct wire *message,
                           const struct wire_field *field)
{
    int64_t count = wire_count(message, field, WIRE_VARINT);
    if (count < 0)
        return cr_error_status();
    struct wire run = wire_inside(message, field);
    for (int64_t i = 0; i < count; i++) {
        uint64_t value = field->value;
        if (field->type == WIRE_BYTES && !wire_number(&run, WIRE_VARINT, &value))
            return cr_error_status();
        if (tensor->shape.ndim == CR_MAX_DIMS)
            return refuse(onnx, tensor, "has more than 8 dimensions, which are not supported");
        if ((int64_t)value < 0)
            return refuse(onnx, tensor, "has a negative size");
        tensor->shape.dim[tensor->shape.ndim++] = (int64_t)value;
    }
    return CR_OK;
}

/* How many bytes the elements take: those of less than a byte are packed. */
static cr_status packed_bytes(const cr_onnx *onnx, const struct onnx_tensor *tensor,
                              const struct onnx_type_record *record, uint64_t *bytes)
{
    int64_t count = cr_shape_numel(&tensor->shape), bits;
    if (count < 0 || __builtin_mul_overflow(count, (int64_t)record->bits, &bits) ||
        bits > INT64_MAX - 8)
        return refuse(onnx, tensor, "has more elements than can be addressed");
    *bytes = ((uint64_t)bits + 7) / 8;
    return CR_OK;
}

/* Numbers in fields: as many as there are elements. */
static cr_status check_numbers(cr_onnx *onnx, struct onnx_tensor *tensor,
                               const struct onnx_type_record *record, uint64_t bytes)
{
    enum wire_type type;
    uint32_t number = data_field(tensor->type, &type);
    struct wire_field field;
    struct wire message = tensor->message;
    int64_t count = 0;
    while (wire_next(&message, &field)) {
        int64_t more = field.number == number ? wire_count(&message, &field, type) : 0;
        count += CR_MAX(more, 0);
    }
    if (cr_failed())
        return cr_error_status();
    int64_t expected = record->bits < 8 ? (int64_t)bytes : cr_shape_numel(&tensor->shape);
    if (count == expected)
        return CR_OK;
    if (count != 0 || !onnx->weights_absent)
        return refuse(onnx, tensor, "has data of another size than its shape says");
    tensor->is_absent = true;
    return CR_OK;
}

cr_status onnx_tensor_parse(cr_onnx *onnx, struct wire message, struct onnx_tensor *tensor)
{
    struct wire_field field;
    uint64_t location = 0, bytes = 0;
    *tensor = (struct onnx_tensor){ .name = "", .message = message };
    while (wire_next(&message, &field)) {
        if (field.number == 1)
            read_dims(onnx, tensor, &message, &field);
        else if (field.number == 2 && field.type == WIRE_VARINT)
            tensor->type = (int)CR_MIN(field.value, 1000);
        else if (field.number == 8 && field.type == WIRE_BYTES) {
            uint64_t length = field.end - field.begin;
            char *name = length <= ONNX_MAX_NAME ? onnx_keep(onnx, (size_t)length + 1, 1) : NULL;
            if (!name || source_read(&onnx->source, field.begin, name, (size_t)length) != CR_OK)
                return refuse(onnx, tensor, "has too long a name");
            tensor->name = name;
        } else if (field.number == 9 && field.type == WIRE_BYTES) {
            tensor->is_raw = true;
            tensor->raw_begin = field.begin;
            tensor->raw_bytes = field.end - field.begin;
        } else if (field.number == 14 && field.type == WIRE_VARINT)
            location = field.value;
    }
    if (cr_failed())
        return cr_error_status();
    const struct onnx_type_record *record = onnx_type_find(tensor->type);
    if (!record)
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "%s: there is a tensor of %s, which %s not supported",
                            onnx->source.path, tensor->type == 8 ? "strings" : "an unknown type",
                            tensor->type == 8 ? "are" : "is");
    if (packed_bytes(onnx, tensor, record, &bytes) != CR_OK)
        return cr_error_status();
    if (location == 1)
        return read_external(onnx, tensor, bytes);
    if (!tensor->is_raw)
        return check_numbers(onnx, tensor, record, bytes);
    if (tensor->raw_bytes != bytes)
        return refuse(onnx, tensor, "has data of another size than its shape says");
    return CR_OK;
}

/* ---- elements ---- */

void onnx_store_bits(const struct onnx_type_record *record, uint64_t bits, void *data, int64_t i)
{
    switch (record->type) {
    case ONNX_UINT16:
        ((int32_t *)data)[i] = (uint16_t)bits;
        break;
    case ONNX_UINT32:
        ((int64_t *)data)[i] = (uint32_t)bits;
        break;
    case ONNX_UINT4:
    case ONNX_UINT2:
        ((uint8_t *)data)[i] = (uint8_t)bits;
        break;
    case ONNX_INT4:
        ((int8_t *)data)[i] = (int8_t)((int)(bits ^ 8) - 8);
        break;
    case ONNX_INT2:
        ((int8_t *)data)[i] = (int8_t)((int)(bits ^ 2) - 2);
        break;
    case ONNX_BOOL:
        ((uint8_t *)data)[i] = bits != 0;
        break;
    default:
        if (record->is_foreign && record->dtype == CR_F32)
            ((float *)data)[i] = onnx_float_of_bits(record->type, (unsigned)bits);
        else
            memcpy((char *)data + (size_t)i * cr_dtype_size(record->dtype), &bits,
                   cr_dtype_size(record->dtype));
    }
}

static cr_status load_foreign(cr_onnx *onnx, const struct onnx_tensor *tensor,
                              const struct onnx_type_record *record, void *data)
{
    unsigned char *raw = cr_alloc((size_t)tensor->raw_bytes);
    if (!raw)
        return cr_error_status();
    const struct onnx_source *source = tensor->external ? tensor->external : &onnx->source;
    cr_status status = source_read_much(source, tensor->raw_begin, raw, (size_t)tensor->raw_bytes);
    int64_t count = status == CR_OK ? cr_shape_numel(&tensor->shape) : 0;
    for (int64_t i = 0; i < count; i++) {
        uint64_t bits = 0;
        size_t first = (size_t)i * (size_t)record->bits;
        if (record->bits < 8)
            bits = (uint64_t)(raw[first / 8] >> first % 8) & ((1u << record->bits) - 1);
        else
            memcpy(&bits, raw + first / 8, (size_t)record->bits / 8);
        onnx_store_bits(record, bits, data, i);
    }
    cr_free(raw);
    return status;
}

static cr_status load_numbers(const struct onnx_tensor *tensor,
                              const struct onnx_type_record *record, void *data)
{
    enum wire_type type;
    uint32_t number = data_field(tensor->type, &type);
    struct wire_field field;
    struct wire message = tensor->message;
    int64_t count = cr_shape_numel(&tensor->shape), at = 0;
    while (at < count && wire_next(&message, &field)) {
        if (field.number != number)
            continue;
        struct wire run = wire_inside(&message, &field);
        uint64_t value = field.value;
        while (at < count && (field.type != WIRE_BYTES ||
                              (run.at < run.end && wire_number(&run, type, &value)))) {
            for (int b = 0; b < 8 && at < count && record->bits < 8; b += record->bits)
                onnx_store_bits(record, value >> b & ((1u << record->bits) - 1), data, at++);
            if (record->bits >= 8)
                onnx_store_bits(record, value, data, at++);
            if (field.type != WIRE_BYTES)
                break;
        }
    }
    return cr_error_status();
}

cr_tensor *onnx_tensor_load(cr_onnx *onnx, const struct onnx_tensor *tensor)
{
    const struct onnx_type_record *record = onnx_type_find(tensor->type);
    if (tensor->is_absent) {
        refuse(onnx, tensor, "has no data");
        return NULL;
    }
    cr_tensor *loaded =
        cr_empty_with((cr_tensor_args){ .shape = tensor->shape, .dtype = record->dtype });
    void *data = cr_data(loaded);
    if (!loaded)
        return NULL;
    if (!tensor->is_raw)
        load_numbers(tensor, record, data);
    else if (record->is_foreign || tensor->type == ONNX_BOOL)
        load_foreign(onnx, tensor, record, data);
    else
        source_read_much(tensor->external ? tensor->external : &onnx->source, tensor->raw_begin,
                         data, (size_t)tensor->raw_bytes);
    return cr_failed() ? NULL : loaded;
}
