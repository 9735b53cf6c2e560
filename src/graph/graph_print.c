/* A graph as text, a line a node. */
#include "graph/graph.h"

static void print_size(cr_text *text, int64_t base, int64_t factor)
{
    if (!factor)
        cr_text_printf(text, "%lld", (long long)base);
    else if (factor == 1)
        cr_text_append(text, "N");
    else
        cr_text_printf(text, "%lld*N", (long long)factor);
    if (factor && base)
        cr_text_printf(text, "%+lld", (long long)base);
}

static void print_type(const struct graph_value *value, cr_text *text)
{
    cr_text_printf(text, "%s(", cr_dtype_name(value->dtype));
    for (int d = 0; d < value->shape.ndim; d++) {
        cr_text_append(text, d ? ", " : "");
        print_size(text, value->shape.dim[d], value->factor.dim[d]);
    }
    cr_text_append(text, ")");
}

/* A small constant by its numbers, else by its number among the values and its type. */
static void print_value(const cr_graph *graph, int number, cr_text *text)
{
    if (number < 0) {
        cr_text_append(text, "-");
        return;
    }
    const struct graph_value *value = &graph->values[number];
    if (value->name)
        cr_text_append(text, value->name);
    else if (value->data && value->data->storage && cr_numel(value->data) == 1)
        cr_text_printf(text, "%g", cr_element(value->data, 0));
    else
        cr_text_printf(text, "%%%d", number);
    if (value->data && !value->name && cr_numel(value->data) != 1) {
        cr_text_append(text, ":");
        print_type(value, text);
    }
}

static int64_t factor_of(const struct graph_node *node, int row, int element)
{
    for (int i = 0; i < node->symbol_count; i++) {
        if (node->symbols[i].attribute == row && node->symbols[i].element == element)
            return node->symbols[i].factor;
    }
    return 0;
}

static void print_ints(const struct graph_node *node, int row, const cr_shape *list, cr_text *text)
{
    cr_text_append(text, "(");
    for (int i = 0; i < list->ndim; i++) {
        cr_text_append(text, i ? ", " : "");
        print_size(text, list->dim[i], factor_of(node, row, i));
    }
    cr_text_append(text, ")");
}

static void print_attribute(const struct graph_node *node, int row, cr_text *text)
{
    const cr_attribute *attribute = &node->op->attributes[row];
    const void *at = (const char *)node->attributes + attribute->offset;
    cr_text_printf(text, " %s=", attribute->name);
    switch (attribute->kind) {
    case CR_ATTRIBUTE_INT:
        print_size(text, *(const int64_t *)at, factor_of(node, row, 0));
        break;
    case CR_ATTRIBUTE_FLOAT:
        cr_text_printf(text, "%g", *(const double *)at);
        break;
    case CR_ATTRIBUTE_BOOL:
        cr_text_append(text, *(const bool *)at ? "true" : "false");
        break;
    case CR_ATTRIBUTE_ENUM:
        cr_text_printf(text, "%d", *(const int *)at);
        break;
    case CR_ATTRIBUTE_INTS:
        print_ints(node, row, at, text);
        break;
    case CR_ATTRIBUTE_TEXT:
        cr_text_printf(text, "\"%s\"", (const char *)at);
        break;
    }
}

static void print_node(const cr_graph *graph, const struct graph_node *node, cr_text *text)
{
    for (int o = 0; o < node->output_count; o++) {
        const struct graph_value *value = &graph->values[node->outputs[o]];
        if (o > 0 && !graph_users(graph, node->outputs[o], NULL, 0))
            continue;
        cr_text_append(text, o ? ", " : "  ");
        print_value(graph, node->outputs[o], text);
        cr_text_append(text, ": ");
        print_type(value, text);
    }
    cr_text_printf(text, " = %s(", node->op->name);
    for (int i = 0; i < node->input_count; i++) {
        cr_text_append(text, i ? ", " : "");
        print_value(graph, node->inputs[i], text);
    }
    cr_text_append(text, ")");
    for (int row = 0; node->op->attributes && node->op->attributes[row].name; row++)
        print_attribute(node, row, text);
    if (node->scope && node->scope[0])
        cr_text_printf(text, "  # %s", node->scope);
    cr_text_append(text, "\n");
}

void cr_graph_print(const cr_graph *graph, cr_text *text)
{
    for (int i = 0; i < graph->input_count; i++) {
        cr_text_append(text, i ? ", " : "inputs ");
        print_value(graph, graph->inputs[i], text);
        cr_text_append(text, ": ");
        print_type(&graph->values[graph->inputs[i]], text);
    }
    cr_text_append(text, "\n");
    for (int i = 0; i < graph->node_count; i++)
        print_node(graph, &graph->nodes[i], text);
    for (int i = 0; i < graph->output_count; i++) {
        cr_text_append(text, i ? ", " : "outputs ");
        print_value(graph, graph->outputs[i], text);
    }
    cr_text_append(text, "\n");
}
