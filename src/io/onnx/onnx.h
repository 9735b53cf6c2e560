/* What the sources of the ONNX importer share: the bytes of a file, the graph that is read from
 * them, and what an operator is called with. */
#ifndef CR_IO_ONNX_H
#define CR_IO_ONNX_H

#include "base/base.h"
#include "cresset/onnx.h"
#include "cresset/ops.h"
#include "nn/nn.h"

/* ---- limits ---- */

#define ONNX_MAX_NODES   1000000   /* of all graphs of a model together */
#define ONNX_MAX_DEPTH   16        /* of graphs in graphs */
#define ONNX_MAX_NAME    4096      /* bytes */
#define ONNX_MAX_PORTS   65536     /* inputs or outputs of a node or a graph */
#define ONNX_MAX_TURNS   100000000 /* of a loop */
#define ONNX_MAX_MISSING 64        /* operators that a refusal names */
#define ONNX_OLDEST      6         /* opset */
#define ONNX_NEWEST      28
#define ONNX_SHOWN       80 /* bytes of a name in a message */

/* ---- bytes (wire.c) ---- */

/* A file that is read through a window, or memory of the caller's. */
struct onnx_source {
    char *path; /* what messages call it */
    int descriptor;
    const unsigned char *memory;
    uint64_t size;
    uint64_t window_begin;
    uint64_t window_end;
    unsigned char *window;
};

cr_status source_open(struct onnx_source *source, const char *path);
cr_status source_open_memory(struct onnx_source *source, const void *data, size_t size,
                             const char *name);
void source_close(struct onnx_source *source);

/* `count` bytes at an offset, which must lie in the source. */
cr_status source_read(struct onnx_source *source, uint64_t offset, void *out, size_t count);

/* The same for much at once, by several threads and past the window. */
cr_status source_read_much(const struct onnx_source *source, uint64_t offset, void *out,
                           size_t count);

/* A message of protocol buffers, or a run of packed numbers: bytes [at, end) of a source. */
struct wire {
    struct onnx_source *source;
    uint64_t at;
    uint64_t end;
};

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct wire_field {
    uint32_t number;
    enum wire_type type;
    uint64_t value; /* of a number: its bits */
    uint64_t begin; /* of bytes: where they are */
    uint64_t end;
    uint64_t start; /* where the field itself begins */
};

/* The next field; false at the end and, with an error recorded, on a fault. */
bool wire_next(struct wire *wire, struct wire_field *field);

/* The next number of a packed run, of the type given. */
bool wire_number(struct wire *wire, enum wire_type type, uint64_t *value);

/* The message or run inside a field. */
struct wire wire_inside(const struct wire *wire, const struct wire_field *field);

/* How many numbers a field holds, alone or packed, of the type given. -1 on a fault. */
int64_t wire_count(const struct wire *wire, const struct wire_field *field, enum wire_type type);

/* ---- the model that is read (onnx_read.c) ---- */

/* Element types of ONNX. X(NAME, number, word, bits of one, the library's dtype that holds it). The
 * library has no dtype of its own for those marked foreign. */
#define ONNX_TYPE_TABLE(X)                                                                         \
    X(FLOAT, 1, "float", 32, CR_F32, false)                                                        \
    X(UINT8, 2, "uint8", 8, CR_U8, false)                                                          \
    X(INT8, 3, "int8", 8, CR_I8, false)                                                            \
    X(UINT16, 4, "uint16", 16, CR_I32, true)                                                       \
    X(INT16, 5, "int16", 16, CR_I16, false)                                                        \
    X(INT32, 6, "int32", 32, CR_I32, false)                                                        \
    X(INT64, 7, "int64", 64, CR_I64, false)                                                        \
    X(BOOL, 9, "bool", 8, CR_BOOL, false)                                                          \
    X(FLOAT16, 10, "float16", 16, CR_F16, false)                                                   \
    X(DOUBLE, 11, "double", 64, CR_F64, false)                                                     \
    X(UINT32, 12, "uint32", 32, CR_I64, true)                                                      \
    X(UINT64, 13, "uint64", 64, CR_I64, true)                                                      \
    X(BFLOAT16, 16, "bfloat16", 16, CR_BF16, false)                                                \
    X(FLOAT8E4M3FN, 17, "float8e4m3fn", 8, CR_F32, true)                                           \
    X(FLOAT8E4M3FNUZ, 18, "float8e4m3fnuz", 8, CR_F32, true)                                       \
    X(FLOAT8E5M2, 19, "float8e5m2", 8, CR_F32, true)                                               \
    X(FLOAT8E5M2FNUZ, 20, "float8e5m2fnuz", 8, CR_F32, true)                                       \
    X(UINT4, 21, "uint4", 4, CR_U8, true)                                                          \
    X(INT4, 22, "int4", 4, CR_I8, true)                                                            \
    X(FLOAT4E2M1, 23, "float4e2m1", 4, CR_F32, true)                                               \
    X(FLOAT8E8M0, 24, "float8e8m0", 8, CR_F32, true)                                               \
    X(UINT2, 25, "uint2", 2, CR_U8, true)                                                          \
    X(INT2, 26, "int2", 2, CR_I8, true)

enum onnx_type {
    ONNX_NONE = 0,
#define ONNX_TYPE_ENUM(name, number, word, bits, dtype, foreign) ONNX_##name = number,
    ONNX_TYPE_TABLE(ONNX_TYPE_ENUM)
#undef ONNX_TYPE_ENUM
};

struct onnx_type_record {
    int type;
    const char *word;
    int bits;
    cr_dtype dtype;
    bool is_foreign;
};

/* NULL for a type that there is none of (strings and complex numbers among them). */
const struct onnx_type_record *onnx_type_find(int type);
int onnx_type_of_dtype(cr_dtype dtype);

/* A tensor in the file. Its data are raw bytes here or in another file, or numbers in fields. */
struct onnx_tensor {
    const char *name;
    int type;
    cr_shape shape;
    struct wire message;
    uint64_t raw_begin;
    uint64_t raw_bytes;
    bool is_raw;
    bool is_absent;                     /* left out, because the weights stand elsewhere */
    const struct onnx_source *external; /* the file in which raw bytes are; NULL: this one */
};

struct onnx_graph;

enum onnx_attribute_type {
    ONNX_ATTRIBUTE_FLOAT = 1,
    ONNX_ATTRIBUTE_INT = 2,
    ONNX_ATTRIBUTE_STRING = 3,
    ONNX_ATTRIBUTE_TENSOR = 4,
    ONNX_ATTRIBUTE_GRAPH = 5,
    ONNX_ATTRIBUTE_FLOATS = 6,
    ONNX_ATTRIBUTE_INTS = 7,
    ONNX_ATTRIBUTE_STRINGS = 8
};

struct onnx_attribute {
    const char *name;
    enum onnx_attribute_type type;
    double f;
    int64_t i;
    const char *s;
    struct onnx_tensor *t;
    struct onnx_graph *g;
    float *floats;
    int64_t *ints;
    const char **strings;
    int count; /* of the lists */
};

struct onnx_operator;

struct onnx_node {
    const struct onnx_operator *op;
    const char *name;
    const char *type;
    const char *domain;
    int version; /* of the operators of its domain */
    int *inputs; /* value numbers; -1: left out */
    int input_count;
    int *outputs;
    int output_count;
    struct onnx_attribute *attributes;
    int attribute_count;
    int *releases; /* values that nobody reads after it */
    int release_count;
    const char *layer; /* the name of its place in the tree; NULL: it has no weights */
};

/* One name: an input, an initializer, or what a node gives. */
struct onnx_value_record {
    const char *name;
    struct onnx_graph *graph; /* in which it is defined */
    const struct onnx_tensor *initializer;
    cr_tensor *constant; /* owned; NULL: not constant, or a parameter */
    int constant_type;
    int parameter; /* a number of cr_onnx.parameters; -1: it is none */
    int node;      /* that makes it; -1: none */
};

struct onnx_graph {
    const char *name;
    struct onnx_graph *parent;
    struct onnx_node *nodes;
    int node_count;
    int *inputs; /* without those that initializers give */
    int input_count;
    int *outputs;
    int output_count;
    struct onnx_port *input_ports;
    struct onnx_port *output_ports;
    int depth;
};

struct onnx_parameter {
    int value;
    const char *name;
    bool is_buffer;
    bool is_body; /* something before the last layer reads it */
};

/* The end of a classifier: values, and the layer between them. */
struct onnx_head {
    int logits;
    int features; /* -1: the last layer is not a linear one */
    int64_t classes;
    const char *name;
};

struct onnx_block; /* of memory that goes with the model */

/* A file of external data. */
struct onnx_external {
    struct onnx_external *next;
    const char *location;
    struct onnx_source source;
};

struct cr_onnx {
    struct onnx_source source;
    uint64_t serial; /* no two models of a process have the same */
    bool weights_absent;
    int64_t ir_version;
    const char *producer_name;
    const char *producer_version;
    int opset;
    struct {
        const char *domain;
        int version;
    } imports[16];
    int import_count;
    cr_string_pair *metadata;
    int metadata_count;
    struct onnx_graph *graph;
    struct wire graph_message;
    struct onnx_value_record *values;
    int value_count;
    int value_capacity;
    int *buckets; /* of names: the first value of each; chained by value_next */
    int *value_next;
    int bucket_count;
    int64_t node_count;
    struct onnx_parameter *parameters;
    int parameter_count;
    struct onnx_head head;
    cr_onnx_port *inputs;
    cr_onnx_port *outputs;
    const char *missing[ONNX_MAX_MISSING];
    int missing_count;
    int function_count;
    struct onnx_external *externals;
    struct onnx_block *blocks;
};

/* Zeroed memory that lives as long as the model; NULL with an error when there is none. */
void *onnx_keep(cr_onnx *onnx, size_t count, size_t size);

/* A name cut and freed of control characters, as a message may show it. */
const char *onnx_show(const char *name, char text[ONNX_SHOWN]);

/* The tensor's elements, owned by the frame (onnx_tensor.c). */
cr_status onnx_tensor_parse(cr_onnx *onnx, struct wire message, struct onnx_tensor *tensor);
cr_tensor *onnx_tensor_load(cr_onnx *onnx, const struct onnx_tensor *tensor);

/* Element i of a tensor's data from its bits. */
void onnx_store_bits(const struct onnx_type_record *record, uint64_t bits, void *data, int64_t i);

/* Foreign numbers: float8 and the like from and to their bits, and integers held to their range. */
float onnx_float_of_bits(int type, unsigned bits);
unsigned onnx_bits_of_float(int type, float value, bool saturate);
cr_tensor *onnx_round_to_type(cr_tensor *tensor, int type, bool saturate);

/* Chooses what becomes a parameter and reads the rest (onnx_parameters.c). */
cr_status onnx_choose_parameters(cr_onnx *onnx);

/* The graph's tensors by parameter number, borrowed from the model; made at the first call. With
 * body_only those of the last layer are NULL. */
cr_tensor *const *onnx_bind(const cr_onnx *onnx, cr_scope at, bool body_only);

/* Finds the last layer (onnx_classifier.c). */
cr_status onnx_find_head(cr_onnx *onnx);

/* ---- running (onnx_run.c) ---- */

struct onnx_list;

/* What a name stands for: a tensor, whose ONNX type may be foreign, or a sequence of such. */
struct onnx_value {
    cr_tensor *tensor;
    struct onnx_list *list; /* a sequence */
    int type;               /* of a tensor; 0: what its dtype says */
};

struct onnx_list {
    int references;
    int count;
    struct onnx_value items[];
};

struct onnx_run {
    const cr_onnx *onnx;
    cr_scope at;
    cr_tensor *const *parameters;
    struct onnx_value *values; /* by number */
    bool is_training;
};

struct onnx_call {
    struct onnx_run *run;
    const struct onnx_node *node;
    int version;
    const struct onnx_value *inputs;
    int input_count;
    struct onnx_value *outputs; /* to fill in; tensors owned by the frame */
    int output_count;
};

enum {
    ONNX_KEEPS = 1,      /* outputs have the (foreign) type of the first input that has one */
    ONNX_ELEMENTWISE = 2 /* weights of one element are settings and no parameters */
};

struct onnx_operator {
    const char *name;
    void (*run)(struct onnx_call *call);
    unsigned flags;
    int variant; /* what one function for several operators tells them by */
    cr_tensor *(*unary)(cr_tensor *);
    cr_tensor *(*binary)(cr_tensor *, cr_tensor *);
    unsigned weights; /* bits of the inputs whose float initializers are parameters */
    unsigned buffers; /* those of them that are buffers */
};

/* A row of a table of operators, and its end. */
#define ONNX_OPERATOR(name_, ...)                                                                  \
    {                                                                                              \
        .name = (name_), .run = __VA_ARGS__                                                        \
    }
#define ONNX_OPERATORS_END                                                                         \
    {                                                                                              \
        .name = NULL                                                                               \
    }

/* The operator of a domain ("": ONNX's own); NULL if there is none. */
const struct onnx_operator *onnx_operator_find(const char *domain, const char *type);

/* Families of operators: lists that a record without name ends. */
#define ONNX_FAMILY_TABLE(X)                                                                       \
    X(onnx_math_operators)                                                                         \
    X(onnx_layer_operators)                                                                        \
    X(onnx_shape_operators)                                                                        \
    X(onnx_reduce_operators)                                                                       \
    X(onnx_index_operators)                                                                        \
    X(onnx_control_operators)                                                                      \
    X(onnx_resize_operators)                                                                       \
    X(onnx_recurrent_operators)                                                                    \
    X(onnx_quantize_operators)                                                                     \
    X(onnx_detection_operators)                                                                    \
    X(onnx_attention_operators)                                                                    \
    X(onnx_sequence_operators)                                                                     \
    X(onnx_signal_operators)                                                                       \
    X(onnx_unique_operators)
#define ONNX_FAMILY_DECLARE(name) extern const struct onnx_operator name[];
ONNX_FAMILY_TABLE(ONNX_FAMILY_DECLARE)
#undef ONNX_FAMILY_DECLARE

/* Runs the nodes of a graph whose inputs are set; its outputs stay in run->values. */
cr_status onnx_run_graph(struct onnx_run *run, const struct onnx_graph *graph);

/* Lets go of what a graph has left, so that it can run again. */
void onnx_clear_graph(struct onnx_run *run, const struct onnx_graph *graph);

/* The whole model on values of any kind; lists among the outputs come with a reference. */
cr_status onnx_run_values(cr_scope at, const cr_onnx *onnx, const struct onnx_value *inputs,
                          int input_count, struct onnx_value *outputs, int output_count);

/* One value of it on one input, without what comes after. */
cr_tensor *onnx_run_to(cr_scope at, cr_tensor *x, const cr_onnx *onnx, int value, bool body_only);

void onnx_value_set(struct onnx_value *to, struct onnx_value value); /* takes references */
void onnx_value_clear(struct onnx_value *value);
struct onnx_value onnx_value_get(const struct onnx_run *run, int value);

/* ---- for operators (onnx_call.c) ---- */

/* Input i as a tensor; NULL where it is left out (onnx_need: with an error then). */
cr_tensor *onnx_input(const struct onnx_call *call, int i);
cr_tensor *onnx_need(const struct onnx_call *call, int i);
int onnx_input_type(const struct onnx_call *call, int i);
bool onnx_wants(const struct onnx_call *call, int i); /* output i */
void onnx_give(struct onnx_call *call, int i, cr_tensor *tensor);

const struct onnx_attribute *onnx_attribute(const struct onnx_call *call, const char *name);
int64_t onnx_int(const struct onnx_call *call, const char *name, int64_t otherwise);
double onnx_float(const struct onnx_call *call, const char *name, double otherwise);
const char *onnx_string(const struct onnx_call *call, const char *name, const char *otherwise);

/* A list of at most 8 (16 in onnx_long_list) integers; false if it is not there. */
bool onnx_ints(const struct onnx_call *call, const char *name, cr_shape *list);
int onnx_long_list(const struct onnx_call *call, const char *name, int64_t *list, int room);

/* The numbers in a tensor of integers; false, with an error, on the meta device or for too many. */
bool onnx_read_ints(const struct onnx_call *call, cr_tensor *tensor, cr_shape *list);
int onnx_read_long_list(const struct onnx_call *call, cr_tensor *tensor, int64_t *list, int room);
bool onnx_read_int(const struct onnx_call *call, cr_tensor *tensor, int64_t *value);
bool onnx_read_float(const struct onnx_call *call, cr_tensor *tensor, double *value);

/* Integers that are an input in newer versions and an attribute in older ones; an empty list if
 * there are none. false on failure. */
bool onnx_axes(const struct onnx_call *call, int input, const char *attribute, cr_shape *list);

/* A dimension counted from the front. */
bool onnx_axis(const struct onnx_call *call, int64_t axis, int ndim, int *result);

/* An int64 tensor of this list. */
cr_tensor *onnx_int_vector(cr_shape list);

/* Records that this cannot be done, in words. */
void onnx_refuse(const struct onnx_call *call, const char *format, ...) CR_PRINTF(2, 3);

#endif
