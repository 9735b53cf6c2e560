/* Reads the pickles that PyTorch writes.
 *
 * A pickle is a program for a stack machine, and one that calls functions by name. This reader runs
 * the stack and builds plain values; of the names it knows those in a table, each of which makes a
 * value of a checkpoint here, and refuses every other. So nothing is executed, whatever the file
 * says. Values lie in an arena, text stays where it is in the file, and every count is bounded by
 * the limits below. Opcodes are those of protocols 2 to 5. */
#include <string.h>

#include "io/archive.h"

#define MOST_OPCODES (1u << 26)
#define MOST_MEMORY  ((size_t)1 << 28) /* of the values of one file */
#define ARENA_BYTES  ((size_t)1 << 16)
#define SHOWN        80 /* bytes of a name that a message repeats */

/* ---- what names stand for ---- */

enum meaning {
    MAKES_DICT,
    MAKES_DEFAULT_DICT,
    MAKES_SET,
    MAKES_SIZE,
    MAKES_BYTES,
    MAKES_DEVICE,
    MAKES_TENSOR,
    MAKES_TENSOR_V3,
    MAKES_PARAMETER,
    MAKES_FROM_TYPE,
    IS_STORAGE,
    IS_DTYPE,
    IS_TYPE,
};

static const struct torch_dtype dtypes[] = {
    { "float32", 4, CR_F32 },   { "float64", 8, CR_F64 }, { "bfloat16", 2, CR_BF16 },
    { "float16", 2, CR_F16 },   { "int64", 8, CR_I64 },   { "int32", 4, CR_I32 },
    { "int16", 2, CR_I16 },     { "int8", 1, CR_I8 },     { "uint8", 1, CR_U8 },
    { "bool", 1, CR_BOOL },     { "complex64", 8, -1 },   { "complex128", 16, -1 },
    { "uint16", 2, -1 },        { "uint32", 4, -1 },      { "uint64", 8, -1 },
    { "float8_e4m3fn", 1, -1 }, { "float8_e5m2", 1, -1 },
};

enum { COMPLEX64 = 10, COMPLEX128, UINT16, UINT32, UINT64, F8_E4M3, F8_E5M2 };

struct pickle_global {
    const char *module;
    const char *name;
    enum meaning meaning;
    int dtype; /* of dtypes */
};

static const struct pickle_global globals[] = {
    { "collections", "OrderedDict", MAKES_DICT, 0 },
    { "collections", "Counter", MAKES_DICT, 0 },
    { "collections", "defaultdict", MAKES_DEFAULT_DICT, 0 },
    { "builtins", "dict", MAKES_DICT, 0 },
    { "__builtin__", "dict", MAKES_DICT, 0 },
    { "builtins", "set", MAKES_SET, 0 },
    { "__builtin__", "set", MAKES_SET, 0 },
    { "builtins", "bytearray", MAKES_BYTES, 0 },
    { "__builtin__", "bytearray", MAKES_BYTES, 0 },
    { "_codecs", "encode", MAKES_BYTES, 0 },
    { "torch", "Size", MAKES_SIZE, 0 },
    { "torch", "device", MAKES_DEVICE, 0 },
    { "torch._utils", "_rebuild_tensor", MAKES_TENSOR, 0 },
    { "torch._utils", "_rebuild_tensor_v2", MAKES_TENSOR, 0 },
    { "torch._utils", "_rebuild_tensor_v3", MAKES_TENSOR_V3, 0 },
    { "torch._utils", "_rebuild_parameter", MAKES_PARAMETER, 0 },
    { "torch._utils", "_rebuild_parameter_with_state", MAKES_PARAMETER, 0 },
    { "torch._tensor", "_rebuild_from_type_v2", MAKES_FROM_TYPE, 0 },
    { "torch._tensor", "_rebuild_from_type", MAKES_FROM_TYPE, 0 },
    { "torch", "Tensor", IS_TYPE, 0 },
    { "torch._tensor", "Tensor", IS_TYPE, 0 },
    { "torch.nn.parameter", "Parameter", IS_TYPE, 0 },
    { "torch", "FloatStorage", IS_STORAGE, CR_F32 },
    { "torch", "DoubleStorage", IS_STORAGE, CR_F64 },
    { "torch", "BFloat16Storage", IS_STORAGE, CR_BF16 },
    { "torch", "HalfStorage", IS_STORAGE, CR_F16 },
    { "torch", "LongStorage", IS_STORAGE, CR_I64 },
    { "torch", "IntStorage", IS_STORAGE, CR_I32 },
    { "torch", "ShortStorage", IS_STORAGE, CR_I16 },
    { "torch", "CharStorage", IS_STORAGE, CR_I8 },
    { "torch", "ByteStorage", IS_STORAGE, CR_U8 },
    { "torch", "BoolStorage", IS_STORAGE, CR_BOOL },
    { "torch", "ComplexFloatStorage", IS_STORAGE, COMPLEX64 },
    { "torch", "ComplexDoubleStorage", IS_STORAGE, COMPLEX128 },
    { "torch", "UntypedStorage", IS_STORAGE, CR_U8 },
    { "torch.storage", "UntypedStorage", IS_STORAGE, CR_U8 },
    { "torch", "float32", IS_DTYPE, CR_F32 },
    { "torch", "float64", IS_DTYPE, CR_F64 },
    { "torch", "bfloat16", IS_DTYPE, CR_BF16 },
    { "torch", "float16", IS_DTYPE, CR_F16 },
    { "torch", "int64", IS_DTYPE, CR_I64 },
    { "torch", "int32", IS_DTYPE, CR_I32 },
    { "torch", "int16", IS_DTYPE, CR_I16 },
    { "torch", "int8", IS_DTYPE, CR_I8 },
    { "torch", "uint8", IS_DTYPE, CR_U8 },
    { "torch", "bool", IS_DTYPE, CR_BOOL },
    { "torch", "complex64", IS_DTYPE, COMPLEX64 },
    { "torch", "complex128", IS_DTYPE, COMPLEX128 },
    { "torch", "uint16", IS_DTYPE, UINT16 },
    { "torch", "uint32", IS_DTYPE, UINT32 },
    { "torch", "uint64", IS_DTYPE, UINT64 },
    { "torch", "float8_e4m3fn", IS_DTYPE, F8_E4M3 },
    { "torch", "float8_e5m2", IS_DTYPE, F8_E5M2 },
};

const char *pickle_storage_of(cr_dtype dtype)
{
    for (int i = 0; i < CR_COUNT_OF(globals); i++) {
        if (globals[i].meaning == IS_STORAGE && globals[i].dtype == (int)dtype)
            return globals[i].name;
    }
    return NULL;
}

bool pickle_text_is(const struct pickle_text *text, const char *word)
{
    return text->size == strlen(word) && memcmp(text->data, word, text->size) == 0;
}

struct pickle_value *pickle_get(const struct pickle_value *dict, const char *key)
{
    struct pickle_value *found = NULL;
    if (!dict || dict->kind != PICKLE_DICT)
        return NULL;
    for (size_t i = 0; i + 1 < dict->list.count; i += 2) {
        const struct pickle_value *own = dict->list.items[i];
        if (own->kind == PICKLE_TEXT && pickle_text_is(&own->text, key))
            found = dict->list.items[i + 1];
    }
    return found;
}

/* ---- the arena ---- */

struct arena {
    struct arena *next;
    size_t used;
    size_t size;
    _Alignas(16) unsigned char bytes[];
};

static void *arena_take(struct pickle *pickle, size_t size)
{
    struct arena *arena = pickle->arena;
    size = CR_DIV_UP(size, (size_t)16) * 16;
    if (!arena || arena->size - arena->used < size) {
        size_t room = CR_MAX(size, ARENA_BYTES);
        if (room > MOST_MEMORY - pickle->arena_bytes) {
            cr_error_set(CR_ERROR_FORMAT, "%s: its pickle asks for more than %zu MiB of values",
                         pickle->name, MOST_MEMORY >> 20);
            return NULL;
        }
        arena = cr_alloc(sizeof *arena + room);
        if (!arena)
            return NULL;
        *arena = (struct arena){ .next = pickle->arena, .size = room };
        pickle->arena = arena;
        pickle->arena_bytes += room;
    }
    void *taken = arena->bytes + arena->used;
    arena->used += size;
    return taken;
}

void pickle_close(struct pickle *pickle)
{
    while (pickle->arena) {
        struct arena *next = pickle->arena->next;
        cr_free(pickle->arena);
        pickle->arena = next;
    }
    *pickle = (struct pickle){ 0 };
}

/* ---- the machine ---- */

struct machine {
    struct pickle *pickle;
    const unsigned char *at;
    const unsigned char *end;
    struct pickle_list stack; /* NULL is a mark */
    struct pickle_list memo;
    bool is_done;
};

static struct pickle_value *broken(const struct machine *machine, const char *what)
{
    cr_error_set(CR_ERROR_FORMAT, "%s is damaged: its pickle %s", machine->pickle->name, what);
    return NULL;
}

static bool list_reserve(struct pickle *pickle, struct pickle_list *list, size_t count)
{
    if (count <= list->room)
        return true;
    size_t room = CR_MAX(CR_MAX(2 * list->room, count), 4);
    struct pickle_value **items = arena_take(pickle, room * sizeof *items);
    if (!items)
        return false;
    if (list->count)
        memcpy(items, list->items, list->count * sizeof *items);
    list->items = items;
    list->room = room;
    return true;
}

static void push(struct machine *machine, struct pickle_value *value)
{
    struct pickle_list *stack = &machine->stack;
    if (!cr_failed() && list_reserve(machine->pickle, stack, stack->count + 1))
        stack->items[stack->count++] = value;
}

static struct pickle_value *make(struct machine *machine, enum pickle_kind kind)
{
    struct pickle_value *value = cr_failed() ? NULL : arena_take(machine->pickle, sizeof *value);
    if (value)
        *value = (struct pickle_value){ .kind = kind };
    return value;
}

/* A new value on the stack; NULL on failure. */
static struct pickle_value *push_new(struct machine *machine, enum pickle_kind kind)
{
    struct pickle_value *value = make(machine, kind);
    push(machine, value);
    return cr_failed() ? NULL : value;
}

static void push_text(struct machine *machine, enum pickle_kind kind, const unsigned char *data,
                      size_t size)
{
    struct pickle_value *value = data ? push_new(machine, kind) : NULL;
    if (value)
        value->text = (struct pickle_text){ (const char *)data, size };
}

static void push_integer(struct machine *machine, int64_t integer)
{
    struct pickle_value *value = push_new(machine, PICKLE_INT);
    if (value)
        value->integer = integer;
}

static void push_truth(struct machine *machine, bool truth)
{
    struct pickle_value *value = push_new(machine, PICKLE_BOOL);
    if (value)
        value->truth = truth;
}

/* The topmost value, which is no mark. */
static struct pickle_value *top(const struct machine *machine)
{
    const struct pickle_list *stack = &machine->stack;
    struct pickle_value *value = stack->count ? stack->items[stack->count - 1] : NULL;
    return value ? value : broken(machine, "takes more from its stack than there is");
}

static struct pickle_value *pop(struct machine *machine)
{
    struct pickle_value *value = cr_failed() ? NULL : top(machine);
    machine->stack.count -= value != NULL;
    return value;
}

/* What stands above the last mark; both leave the stack. The list lies on it still. */
static bool pop_mark(struct machine *machine, struct pickle_list *above)
{
    struct pickle_list *stack = &machine->stack;
    size_t from = stack->count;
    while (from > 0 && stack->items[from - 1])
        from--;
    if (from == 0)
        return broken(machine, "has no mark where it needs one");
    *above = (struct pickle_list){ .items = stack->items + from, .count = stack->count - from };
    stack->count = from - 1;
    return true;
}

/* ---- bytes ---- */

static const unsigned char *take(struct machine *machine, uint64_t count)
{
    const unsigned char *from = machine->at;
    if (count > (uint64_t)(machine->end - from)) {
        broken(machine, "ends in the middle of a value");
        return NULL;
    }
    machine->at += count;
    return from;
}

static uint64_t take_number(struct machine *machine, int bytes)
{
    const unsigned char *from = take(machine, (uint64_t)bytes);
    uint64_t number = 0;
    for (int i = bytes - 1; from && i >= 0; i--)
        number = number << 8 | from[i];
    return number;
}

/* Text whose length stands before it in so many bytes. */
static void take_text(struct machine *machine, enum pickle_kind kind, int length_bytes)
{
    uint64_t size = take_number(machine, length_bytes);
    if (!cr_failed())
        push_text(machine, kind, take(machine, size), (size_t)size);
}

static struct pickle_text take_line(struct machine *machine)
{
    const unsigned char *from = machine->at;
    const unsigned char *line = memchr(from, '\n', (size_t)(machine->end - from));
    if (!line) {
        broken(machine, "ends in the middle of a name");
        return (struct pickle_text){ "", 0 };
    }
    machine->at = line + 1;
    return (struct pickle_text){ (const char *)from, (size_t)(line - from) };
}

/* A whole number in two's complement. */
static void take_long(struct machine *machine, int length_bytes)
{
    uint64_t size = take_number(machine, length_bytes);
    const unsigned char *from = cr_failed() ? NULL : take(machine, size);
    if (!from)
        return;
    if (size > 8) {
        push_text(machine, PICKLE_LONG, from, (size_t)size);
        return;
    }
    uint64_t number = size && from[size - 1] & 0x80 ? UINT64_MAX : 0;
    for (uint64_t i = size; i-- > 0;)
        number = number << 8 | from[i];
    push_integer(machine, (int64_t)number);
}

static void take_float(struct machine *machine)
{
    const unsigned char *from = take(machine, 8);
    struct pickle_value *value = from ? push_new(machine, PICKLE_FLOAT) : NULL;
    uint64_t bits = 0;
    for (int i = 0; value && i < 8; i++)
        bits = bits << 8 | from[i];
    if (value)
        memcpy(&value->number, &bits, sizeof bits);
}

/* ---- containers ---- */

static void append(struct machine *machine, struct pickle_value *list, struct pickle_list items)
{
    if (!list || cr_failed() || !items.count ||
        !list_reserve(machine->pickle, &list->list, list->list.count + items.count))
        return;
    memcpy(list->list.items + list->list.count, items.items, items.count * sizeof *items.items);
    list->list.count += items.count;
}

static void push_container(struct machine *machine, enum pickle_kind kind, struct pickle_list items)
{
    struct pickle_value *value = make(machine, kind);
    if (kind == PICKLE_DICT && items.count % 2)
        broken(machine, "has a key without a value");
    append(machine, value, items);
    push(machine, value);
}

/* The topmost values as a tuple. */
static void push_tuple(struct machine *machine, size_t count)
{
    struct pickle_list *stack = &machine->stack;
    struct pickle_list items = { .count = count };
    for (size_t i = 0; i < count; i++) {
        if (stack->count < count || !stack->items[stack->count - 1 - i]) {
            broken(machine, "takes more from its stack than there is");
            return;
        }
    }
    stack->count -= count;
    items.items = stack->items ? stack->items + stack->count : NULL;
    struct pickle_value *value = make(machine, PICKLE_TUPLE);
    if (count)
        append(machine, value, items);
    push(machine, value);
}

static void push_marked(struct machine *machine, enum pickle_kind kind)
{
    struct pickle_list items;
    if (pop_mark(machine, &items))
        push_container(machine, kind, items);
}

/* Adds to the container below: `of` is its kind. */
static void extend(struct machine *machine, enum pickle_kind of, struct pickle_list items)
{
    struct pickle_value *to = cr_failed() ? NULL : top(machine);
    if (to && to->kind != of && !(of == PICKLE_LIST && to->kind == PICKLE_OTHER))
        broken(machine, "adds to a value that is no container");
    else if (of == PICKLE_DICT && items.count % 2)
        broken(machine, "has a key without a value");
    else if (to && to->kind == of)
        append(machine, to, items);
}

static void extend_marked(struct machine *machine, enum pickle_kind of)
{
    struct pickle_list items;
    if (pop_mark(machine, &items))
        extend(machine, of, items);
}

static void extend_by_one(struct machine *machine, enum pickle_kind of)
{
    struct pickle_value *items[2];
    size_t count = of == PICKLE_DICT ? 2 : 1;
    for (size_t i = count; i-- > 0;)
        items[i] = pop(machine);
    extend(machine, of, (struct pickle_list){ items, count, count });
}

/* ---- the memo ---- */

static void memo_put(struct machine *machine, uint64_t index)
{
    struct pickle_list *memo = &machine->memo;
    struct pickle_value *value = cr_failed() ? NULL : top(machine);
    if (!value)
        return;
    if (index > MOST_OPCODES || index > memo->count + 65536) {
        broken(machine, "keeps a value under a number that is too large");
        return;
    }
    if (!list_reserve(machine->pickle, memo, (size_t)index + 1))
        return;
    while (memo->count <= index)
        memo->items[memo->count++] = NULL;
    memo->items[index] = value;
}

static void memo_get(struct machine *machine, uint64_t index)
{
    const struct pickle_list *memo = &machine->memo;
    if (index < memo->count && memo->items[index])
        push(machine, memo->items[index]);
    else
        broken(machine, "asks for a value that it did not keep");
}

/* ---- names and calls ---- */

static void copy_shown(char *out, const struct pickle_text *text)
{
    size_t length = CR_MIN(text->size, (size_t)SHOWN - 1);
    for (size_t i = 0; i < length; i++)
        out[i] = text->data[i] < 0x20 || text->data[i] > 0x7e ? '?' : text->data[i];
    out[length] = '\0';
}

static void push_global(struct machine *machine, struct pickle_text module, struct pickle_text name)
{
    char shown[2][SHOWN];
    if (cr_failed())
        return;
    /* What old files say of storages on a GPU. */
    if (pickle_text_is(&module, "torch.cuda"))
        module = (struct pickle_text){ "torch", 5 };
    for (int i = 0; i < CR_COUNT_OF(globals); i++) {
        if (pickle_text_is(&module, globals[i].module) && pickle_text_is(&name, globals[i].name)) {
            struct pickle_value *value = push_new(machine, PICKLE_GLOBAL);
            if (value)
                value->global = &globals[i];
            return;
        }
    }
    copy_shown(shown[0], &module);
    copy_shown(shown[1], &name);
    cr_error_set(CR_ERROR_UNSUPPORTED,
                 "%s is refused: its pickle names %s.%s, which is no part of a checkpoint; nothing "
                 "of it was executed (a file of tensors alone is made by "
                 "torch.save(model.state_dict(), …))",
                 machine->pickle->name, shown[0], shown[1]);
}

static void push_named(struct machine *machine)
{
    struct pickle_value *name = pop(machine), *module = pop(machine);
    if (!name || !module)
        return;
    if (name->kind == PICKLE_TEXT && module->kind == PICKLE_TEXT)
        push_global(machine, module->text, name->text);
    else
        broken(machine, "has a name that is no text");
}

static bool is_tuple_of(const struct pickle_value *value, size_t least, size_t most)
{
    return value && value->kind == PICKLE_TUPLE && value->list.count >= least &&
           value->list.count <= most;
}

/* Sizes or strides: natural numbers, at most 8. */
static bool read_sizes(const struct pickle_value *value, cr_shape *sizes)
{
    if (!is_tuple_of(value, 0, CR_MAX_DIMS))
        return false;
    *sizes = (cr_shape){ .ndim = (int)value->list.count };
    for (int i = 0; i < sizes->ndim; i++) {
        const struct pickle_value *item = value->list.items[i];
        if (item->kind != PICKLE_INT || item->integer < 0)
            return false;
        sizes->dim[i] = item->integer;
    }
    return true;
}

/* (storage, offset, size, stride, …, of version 3: the dtype in seventh place). */
static struct pickle_value *make_tensor(struct machine *machine, const struct pickle_value *args,
                                        bool has_dtype)
{
    struct pickle_value *value = make(machine, PICKLE_TENSOR);
    struct pickle_tensor *tensor = value ? arena_take(machine->pickle, sizeof *tensor) : NULL;
    if (!tensor)
        return NULL;
    *tensor = (struct pickle_tensor){ 0 };
    value->tensor = tensor;
    if (!is_tuple_of(args, has_dtype ? 7 : 4, 8))
        return broken(machine, "describes a tensor by another number of values");
    struct pickle_value *const *items = args->list.items;
    if (items[0]->kind != PICKLE_STORAGE || items[1]->kind != PICKLE_INT || items[1]->integer < 0 ||
        !read_sizes(items[2], &tensor->size) || !read_sizes(items[3], &tensor->stride) ||
        tensor->size.ndim != tensor->stride.ndim)
        return broken(machine, "describes a tensor of no storage, or of sizes and strides that are "
                               "not at most 8 natural numbers each");
    tensor->storage = &items[0]->storage;
    tensor->offset = items[1]->integer;
    tensor->dtype = items[0]->storage.dtype;
    if (has_dtype) {
        if (items[6]->kind != PICKLE_GLOBAL || items[6]->global->meaning != IS_DTYPE)
            return broken(machine, "describes a tensor without its dtype");
        tensor->dtype = &dtypes[items[6]->global->dtype];
    }
    return value;
}

static struct pickle_value *make_dict(struct machine *machine, const struct pickle_value *args)
{
    struct pickle_value *dict = make(machine, PICKLE_DICT);
    if (!dict || args->list.count == 0)
        return dict;
    const struct pickle_value *from = args->list.items[0];
    if (from->kind == PICKLE_DICT)
        append(machine, dict, from->list);
    else if (from->kind != PICKLE_LIST && from->kind != PICKLE_TUPLE)
        return broken(machine, "makes a dict of what is none");
    for (size_t i = 0; from->kind != PICKLE_DICT && i < from->list.count; i++) {
        const struct pickle_value *pair = from->list.items[i];
        if ((pair->kind != PICKLE_LIST && pair->kind != PICKLE_TUPLE) || pair->list.count != 2)
            return broken(machine, "makes a dict of what are no pairs");
        append(machine, dict, pair->list);
    }
    return dict;
}

static struct pickle_value *call(struct machine *machine, const struct pickle_value *function,
                                 struct pickle_value *args);

/* (function, type, its arguments, state): what it makes without the type. */
static struct pickle_value *make_from_type(struct machine *machine, struct pickle_value *args)
{
    const struct pickle_value *function = args->list.count > 2 ? args->list.items[0] : NULL;
    if (!function || function->kind != PICKLE_GLOBAL ||
        function->global->meaning == MAKES_FROM_TYPE)
        return broken(machine, "makes a tensor of what is none");
    return call(machine, function, args->list.items[2]);
}

/* What a call of a known function gives: a value of ours. */
static struct pickle_value *call(struct machine *machine, const struct pickle_value *function,
                                 struct pickle_value *args)
{
    if (function->kind != PICKLE_GLOBAL || args->kind != PICKLE_TUPLE)
        return broken(machine, "calls what is no function");
    struct pickle_value *first = args->list.count ? args->list.items[0] : NULL;
    switch (function->global->meaning) {
    case MAKES_DICT:
        return make_dict(machine, args);
    case MAKES_DEFAULT_DICT:
        return make(machine, PICKLE_DICT);
    case MAKES_SET:
    case MAKES_DEVICE:
        return make(machine, PICKLE_OTHER);
    case MAKES_SIZE:
        return first && first->kind == PICKLE_TUPLE ? first
                                                    : broken(machine, "makes a size of what is "
                                                                      "none");
    case MAKES_BYTES:
        return first && (first->kind == PICKLE_TEXT || first->kind == PICKLE_BYTES)
                   ? first
                   : make(machine, PICKLE_BYTES);
    case MAKES_TENSOR:
        return make_tensor(machine, args, false);
    case MAKES_TENSOR_V3:
        return make_tensor(machine, args, true);
    case MAKES_PARAMETER:
        return first && first->kind == PICKLE_TENSOR
                   ? first
                   : broken(machine, "makes a parameter of what is no tensor");
    case MAKES_FROM_TYPE:
        return make_from_type(machine, args);
    default:
        return broken(machine, "calls a type that nothing is made of");
    }
}

static void reduce(struct machine *machine)
{
    struct pickle_value *args = pop(machine), *function = pop(machine);
    if (args && function)
        push(machine, call(machine, function, args));
}

/* A storage by its persistent id: ("storage", type, key, location, count[, view]). */
static void push_storage(struct machine *machine)
{
    const struct pickle_value *id = pop(machine);
    struct pickle_value *value = make(machine, PICKLE_STORAGE);
    if (!id || !value)
        return;
    if (!is_tuple_of(id, 5, 6) || id->list.items[0]->kind != PICKLE_TEXT ||
        !pickle_text_is(&id->list.items[0]->text, "storage")) {
        broken(machine, "refers to something other than a storage");
        return;
    }
    struct pickle_value *const *items = id->list.items;
    if (items[1]->kind != PICKLE_GLOBAL || items[1]->global->meaning != IS_STORAGE ||
        items[2]->kind != PICKLE_TEXT || items[4]->kind != PICKLE_INT || items[4]->integer < 0) {
        broken(machine, "refers to a storage without its type, key or size");
        return;
    }
    struct pickle_storage *storage = &value->storage;
    *storage = (struct pickle_storage){ .key = items[2]->text,
                                        .dtype = &dtypes[items[1]->global->dtype],
                                        .count = items[4]->integer,
                                        .view_count = items[4]->integer,
                                        .next = machine->pickle->storages };
    const struct pickle_value *view = id->list.count == 6 ? items[5] : NULL;
    if (view && view->kind != PICKLE_NONE) {
        if (!is_tuple_of(view, 3, 3) || view->list.items[1]->kind != PICKLE_INT ||
            view->list.items[2]->kind != PICKLE_INT) {
            broken(machine, "refers to a part of a storage without its place");
            return;
        }
        storage->view_offset = view->list.items[1]->integer;
        storage->view_count = view->list.items[2]->integer;
        if (storage->view_offset < 0 || storage->view_count < 0 ||
            storage->view_offset > storage->count ||
            storage->view_count > storage->count - storage->view_offset) {
            broken(machine, "refers to a part beyond the end of a storage");
            return;
        }
    }
    machine->pickle->storages = value;
    push(machine, value);
}

/* ---- opcodes ---- */

static void refuse_opcode(const struct machine *machine, int opcode)
{
    cr_error_set(CR_ERROR_FORMAT,
                 "%s is damaged: its pickle holds the byte 0x%02x, which no "
                 "checkpoint has there",
                 machine->pickle->name, (unsigned)opcode);
}

static void run_value(struct machine *machine, int opcode)
{
    switch (opcode) {
    case 'N':
        push_new(machine, PICKLE_NONE);
        break;
    case 0x88:
    case 0x89:
        push_truth(machine, opcode == 0x88);
        break;
    case 'J':
        push_integer(machine, (int32_t)take_number(machine, 4));
        break;
    case 'K':
        push_integer(machine, (int64_t)take_number(machine, 1));
        break;
    case 'M':
        push_integer(machine, (int64_t)take_number(machine, 2));
        break;
    case 0x8a:
        take_long(machine, 1);
        break;
    case 0x8b:
        take_long(machine, 4);
        break;
    case 'G':
        take_float(machine);
        break;
    case 'X':
    case 'T':
        take_text(machine, PICKLE_TEXT, 4);
        break;
    case 'U':
    case 0x8c:
        take_text(machine, PICKLE_TEXT, 1);
        break;
    case 0x8d:
        take_text(machine, PICKLE_TEXT, 8);
        break;
    case 'C':
        take_text(machine, PICKLE_BYTES, 1);
        break;
    case 'B':
        take_text(machine, PICKLE_BYTES, 4);
        break;
    case 0x8e:
    case 0x96:
        take_text(machine, PICKLE_BYTES, 8);
        break;
    default:
        refuse_opcode(machine, opcode);
    }
}

static void run_container(struct machine *machine, int opcode)
{
    struct pickle_list items;
    switch (opcode) {
    case ']':
        push_new(machine, PICKLE_LIST);
        break;
    case '}':
        push_new(machine, PICKLE_DICT);
        break;
    case 0x8f:
        push_new(machine, PICKLE_OTHER);
        break;
    case ')':
        push_new(machine, PICKLE_TUPLE);
        break;
    case 0x85:
    case 0x86:
    case 0x87:
        push_tuple(machine, (size_t)(opcode - 0x84));
        break;
    case 't':
        push_marked(machine, PICKLE_TUPLE);
        break;
    case 'l':
        push_marked(machine, PICKLE_LIST);
        break;
    case 'd':
        push_marked(machine, PICKLE_DICT);
        break;
    case 0x91:
        if (pop_mark(machine, &items))
            push_new(machine, PICKLE_OTHER);
        break;
    case 'a':
        extend_by_one(machine, PICKLE_LIST);
        break;
    case 's':
        extend_by_one(machine, PICKLE_DICT);
        break;
    case 'e':
    case 0x90:
        extend_marked(machine, PICKLE_LIST);
        break;
    case 'u':
        extend_marked(machine, PICKLE_DICT);
        break;
    default:
        run_value(machine, opcode);
    }
}

static void run_opcode(struct machine *machine, int opcode)
{
    struct pickle_list items;
    struct pickle_text module;
    switch (opcode) {
    case '(':
        push(machine, NULL);
        break;
    case '0':
        pop(machine);
        break;
    case '1':
        pop_mark(machine, &items);
        break;
    case 'q':
        memo_put(machine, take_number(machine, 1));
        break;
    case 'r':
        memo_put(machine, take_number(machine, 4));
        break;
    case 0x94:
        memo_put(machine, machine->memo.count);
        break;
    case 'h':
        memo_get(machine, take_number(machine, 1));
        break;
    case 'j':
        memo_get(machine, take_number(machine, 4));
        break;
    case 'c':
        module = take_line(machine);
        push_global(machine, module, take_line(machine));
        break;
    case 0x93:
        push_named(machine);
        break;
    case 'R':
    case 0x81:
        reduce(machine);
        break;
    case 'b': /* attributes of an object: of those that there are, none matters */
        pop(machine);
        break;
    case 'Q':
        push_storage(machine);
        break;
    case 0x95: /* the length of a frame, which the lengths in it make needless */
        take(machine, 8);
        break;
    case '.':
        machine->is_done = true;
        break;
    default:
        run_container(machine, opcode);
    }
}

struct pickle_value *pickle_read(struct pickle *pickle, const unsigned char **at,
                                 const unsigned char *end)
{
    struct machine machine = { .pickle = pickle, .at = *at, .end = end };
    const unsigned char *head = cr_failed() ? NULL : take(&machine, 2);
    if (!head)
        return NULL;
    if (head[0] != 0x80 || head[1] < 2 || head[1] > 5) {
        cr_error_set(CR_ERROR_FORMAT, "%s holds no pickle of protocol 2 to 5, as PyTorch writes it",
                     pickle->name);
        return NULL;
    }
    for (uint64_t count = 0; !machine.is_done && !cr_failed(); count++) {
        const unsigned char *opcode = take(&machine, 1);
        if (count == MOST_OPCODES)
            broken(&machine, "has more instructions than any checkpoint");
        else if (opcode)
            run_opcode(&machine, *opcode);
    }
    struct pickle_value *value = pop(&machine);
    *at = machine.at;
    return cr_failed() ? NULL : value;
}
